// Watches what a page shows of a remote screen: the <video> and <canvas> elements inside #screen, bottom to top. The same
// code measures any viewer built of those. Unless told to animate, it asks for no animation frame of its own while nothing
// is drawn, since that changes when the browser hands over messages.
(() => {
  'use strict';
  const CELL = 16, CELLS = 22;
  const scratch = document.createElement('canvas');
  const ctx = scratch.getContext('2d', { willReadFrequently: true });
  const watchers = new Set();

  function surfaces() {
    const box = document.querySelector('#screen');
    if (!box) return [];
    const all = box.matches('video,canvas') ? [box] : [...box.querySelectorAll('video,canvas')];
    return all.filter((e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && width(e) > 0);
  }
  const width = (e) => e.videoWidth ?? e.width;
  const height = (e) => e.videoHeight ?? e.height;

  // The remote screen's, which a viewer whose video may be smaller tells of.
  function size() {
    const s = surfaces();
    if (!s.length) return { width: 0, height: 0 };
    const told = window.easel && 'screen' in window.easel ? (window.easel.screen ?? { w: 0, h: 0 }) : null;
    return told ? { width: told.w, height: told.h } : { width: width(s[0]), height: height(s[0]) };
  }

  // Draws the rectangle x, y, w, h of the remote screen into the scratch canvas at ow by oh, nearest pixel, of all surfaces or of those.
  function compose(x, y, w, h, ow, oh, of = surfaces()) {
    if (scratch.width !== ow || scratch.height !== oh) {
      scratch.width = ow;
      scratch.height = oh;
    }
    ctx.imageSmoothingEnabled = false;
    ctx.clearRect(0, 0, ow, oh);
    const screen = size();
    for (const e of of) {
      const across = width(e) / screen.width, down = height(e) / screen.height;
      ctx.drawImage(e, x * across, y * down, w * across, h * down, 0, 0, ow, oh);
    }
  }

  function pixels(x, y, w, h) {
    compose(x, y, w, h, w, h);
    return ctx.getImageData(0, 0, w, h).data;
  }

  // The browser's own encoder: a loop over megabytes in JavaScript would stall the page, and with it the viewer.
  function base64(bytes) {
    return new Promise((resolve, reject) => {
      const r = new FileReader();
      r.onload = () => resolve(r.result.slice(r.result.indexOf(',') + 1));
      r.onerror = () => reject(r.error);
      r.readAsDataURL(new Blob([bytes]));
    });
  }

  // One look at sample points, all from one composed picture that covers their bounding box.
  function sample(points) {
    const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
    const x0 = Math.min(...xs), y0 = Math.min(...ys), w = Math.max(...xs) - x0 + 1, h = Math.max(...ys) - y0 + 1;
    const step = Math.max(1, Math.floor(Math.max(w, h) / 64));
    const ow = Math.ceil(w / step), oh = Math.ceil(h / step);
    compose(x0, y0, ow * step, oh * step, ow, oh);
    const d = ctx.getImageData(0, 0, ow, oh).data;
    return points.map(([x, y]) => {
      const o = (Math.floor((y - y0) / step) * ow + Math.floor((x - x0) / step)) * 4;
      return [d[o], d[o + 1], d[o + 2]];
    });
  }

  // The counter in the corner marker, or -1, by whether each of its cells is light. The layout is xclient's.
  function counter(light) {
    const bit = (i) => (light[i] ? 1 : 0);
    if (!bit(0) || bit(1)) return -1;
    let c = 0;
    for (let i = 0; i < 16; i++) c = (c << 1) | bit(2 + i);
    let sum = 0;
    for (let i = 0; i < 4; i++) sum = (sum << 1) | bit(18 + i);
    return sum === ((c ^ (c >> 4) ^ (c >> 8) ^ (c >> 12) ^ 9) & 15) ? c : -1;
  }

  // The marker's cells in some surfaces: light, dark, or undefined where nothing covers them.
  function cells(of) {
    compose(0, 0, CELL * CELLS, CELL, CELLS, 1, of);
    const d = ctx.getImageData(0, 0, CELLS, 1).data;
    return Array.from({ length: CELLS }, (_, i) => (d[i * 4 + 3] === 0 ? undefined : d[i * 4] + d[i * 4 + 1] + d[i * 4 + 2] > 382));
  }

  const marker = () => counter(cells());

  // The marker in a picture that was taken of the video, which the page's canvases lie above. Only its own pixels are read, of YUV the luma: a
  // whole frame made RGB costs the page several milliseconds, which a picture that is a canvas already does not.
  async function markerIn(picture) {
    try {
      const over = cells(surfaces().filter((e) => e.videoWidth === undefined));
      const screen = size();
      const across = picture.visibleRect.width / screen.width, down = picture.visibleRect.height / screen.height;
      const rect = { x: 0, y: 0, width: Math.floor(across * CELL * CELLS) & ~1, height: Math.max(Math.floor(down * CELL) & ~1, 2) };
      const bytes = new Uint8Array(picture.allocationSize({ rect }));
      const [{ offset, stride }] = await picture.copyTo(bytes, { rect });
      const rgb = /^(RGB|BGR)/.test(picture.format);
      const x = (i) => Math.floor((i + 0.5) * CELL * across);
      const at = (i) => bytes[offset + stride * (rect.height >> 1) + (rgb ? 4 * x(i) + 1 : x(i))] > 125;
      return counter(over.map((light, i) => light ?? at(i)));
    } catch {
      return -1; // the screen has become another, or the browser does not show its pictures: it counts as unread
    } finally {
      picture.close();
    }
  }

  function shown(at, frame) {
    for (const w of [...watchers]) w(at, frame);
  }

  // A picture of the video, which the browser may replace at any moment; undefined where it gives none.
  const take = (video) => (window.VideoFrame && video.readyState >= 2 ? new VideoFrame(video) : undefined);

  // Video: the browser tells of each frame it presents. A picture taken then may be the next frame's already, which it presents later.
  const bound = new WeakSet();
  function follow(video) {
    if (bound.has(video)) return;
    bound.add(video);
    const each = (_now, { rtpTimestamp: told }) => {
      const at = performance.now();
      video.requestVideoFrameCallback(each);
      if (!watchers.size || !video.closest('#screen')) return;
      const picture = take(video);
      const taken = picture?.metadata?.().rtpTimestamp;
      shown(at, { told, taken, picture });
      picture?.close();
    };
    video.requestVideoFrameCallback(each);
  }

  // The counters of the pictures that the browser told of, with the times when it did. That of a frame is known where a picture of it was
  // taken, or else by those of the frames before and after it.
  function displayed(looks) {
    const counters = new Map();
    for (const { frame, counter } of looks) if (frame) counters.set(frame.taken, counter);
    const known = [...counters].sort(([a], [b]) => (a - b) | 0);
    const counterOf = (told) => {
      const after = known.findIndex(([rtp]) => ((rtp - told) | 0) >= 0);
      if (known[after]?.[0] === told) return known[after][1];
      const before = known[after - 1]?.[1];
      return before >= 0 && known[after]?.[1] === before + 2 ? before + 1 : -1;
    };
    return looks.map(({ at, frame, counter }) => [frame?.told === undefined ? counter : counterOf(frame.told), at]);
  }
  function adopt() {
    for (const v of document.querySelectorAll('#screen video')) follow(v);
  }

  // Canvas: what was drawn since the last frame is shown by the next one, and what one of a frame's own callbacks draws by that frame.
  let asked = false;
  let inFrame = false;
  const nextFrame = requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (f) =>
    nextFrame((at) => {
      inFrame = true;
      try {
        f(at);
      } finally {
        inFrame = false;
      }
    });
  function drawn(canvas) {
    if (asked || !watchers.size || !canvas.closest?.('#screen')) return;
    asked = true;
    const look = () => {
      asked = false;
      shown(performance.now());
    };
    if (inFrame) queueMicrotask(look);
    else nextFrame(look);
  }
  const proto = CanvasRenderingContext2D.prototype;
  for (const name of ['drawImage', 'putImageData', 'fillRect', 'clearRect']) {
    const real = proto[name];
    proto[name] = function (...a) {
      const r = real.apply(this, a);
      if (watchers.size && this.canvas !== scratch && this.canvas.isConnected) drawn(this.canvas);
      return r;
    };
  }

  // A page that animates, as one does under a moving hand: every frame looks by itself, at a video and at a canvas alike. It looks after all
  // of the frame's callbacks, whichever asked first, because what they draw is shown by this frame: that is when sizes are observed.
  const lookers = new Set();
  let animating = false;
  const pulse = document.createElement('div');
  pulse.style.cssText = 'position:fixed;visibility:hidden;width:1px;height:1px';
  new ResizeObserver(() => {
    const at = performance.now();
    for (const l of [...lookers]) l(at);
  }).observe(pulse);
  function frame() {
    if (!animating) return pulse.remove();
    requestAnimationFrame(frame);
    if (!pulse.isConnected) document.documentElement.append(pulse);
    pulse.style.width = pulse.style.width === '1px' ? '2px' : '1px';
  }

  let pressed = null;
  for (const name of ['pointerdown', 'mousedown', 'pointermove', 'keydown']) {
    addEventListener(name, (e) => {
      if (name !== 'pointermove') pressed ??= { stamp: e.timeStamp, seen: performance.now() };
    }, true);
  }

  // What comes over the network, whatever brings it: the browser's own count of a WebRTC transport, the messages of a WebSocket.
  const links = new Set();
  let messages = 0;
  function eachNew(name, seen) {
    window[name] &&= new Proxy(window[name], {
      construct(of, args) {
        const made = Reflect.construct(of, args);
        seen(made);
        return made;
      },
    });
  }
  eachNew('RTCPeerConnection', (link) => links.add(link));
  eachNew('WebSocket', (socket) => {
    socket.addEventListener('message', ({ data: d }) => {
      messages += d.byteLength ?? d.size ?? d.length;
    });
  });

  const near = (c, want) => Math.abs(c[0] - want[0]) + Math.abs(c[1] - want[1]) + Math.abs(c[2] - want[2]) < 90;

  window.__probe = {
    size,
    sample,
    marker,
    // base64 RGBA of a rectangle.
    grab(x, y, w, h) {
      return base64(pixels(x, y, w, h));
    },
    // Has the page produce frames all the time, or no longer.
    animate(on) {
      if (on && !animating) requestAnimationFrame(frame);
      animating = on;
    },
    // Resolves when every point has the wanted colour: times of the event and of the picture, in page milliseconds.
    click(points, color, timeout) {
      const eyes = animating ? lookers : watchers;
      if (!animating) adopt();
      pressed = null;
      return new Promise((resolve, reject) => {
        const end = (f, v) => {
          eyes.delete(look);
          clearTimeout(timer);
          f(v);
        };
        const timer = setTimeout(() => {
          const now = sample(points);
          end(reject, new Error(`no picture change in ${timeout} ms: event ${JSON.stringify(pressed)}, points are ${JSON.stringify(now)}, want ${color}`));
        }, timeout);
        const look = (at) => {
          if (pressed && sample(points).every((c) => near(c, color))) end(resolve, { ...pressed, shown: at });
        };
        eyes.add(look);
      });
    },
    // Bytes that have come so far.
    async received() {
      let sum = messages;
      for (const link of links)
        for (const s of (await link.getStats()).values()) if (s.type === 'transport') sum += s.bytesReceived;
      return sum;
    },
    // Packets of sound that have come so far.
    async sounds() {
      let sum = 0;
      for (const link of links)
        for (const s of (await link.getStats()).values()) if (s.type === 'inbound-rtp' && s.kind === 'audio') sum += s.packetsReceived;
      return sum;
    },
    // Every picture shown for some milliseconds: counter and wall clock in ms.
    watch(ms) {
      adopt();
      return new Promise((resolve) => {
        const looks = [];
        const look = (at, frame) => looks.push({ at, frame, read: frame?.picture ? markerIn(frame.picture.clone()) : marker() });
        watchers.add(look);
        setTimeout(async () => {
          watchers.delete(look);
          for (const l of looks) l.counter = await l.read;
          resolve(displayed(looks).flatMap(([counter, at]) => [counter, performance.timeOrigin + at]));
        }, ms);
      });
    },
    // Resolves when every point has the wanted colour, by looking now and then: for tests, not for times.
    async settle(points, color, timeout) {
      const until = performance.now() + timeout;
      for (;;) {
        if (surfaces().length && sample(points).every((c) => near(c, color))) return true;
        if (performance.now() > until) throw new Error(`points are ${JSON.stringify(surfaces().length ? sample(points) : 'nothing')}, want ${color}`);
        await new Promise((r) => setTimeout(r, 50));
      }
    },
  };
})();
