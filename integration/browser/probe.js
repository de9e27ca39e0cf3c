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

  // Draws the rectangle x, y, w, h of the remote screen into the scratch canvas at ow by oh, nearest pixel.
  function compose(x, y, w, h, ow, oh) {
    if (scratch.width !== ow || scratch.height !== oh) {
      scratch.width = ow;
      scratch.height = oh;
    }
    ctx.imageSmoothingEnabled = false;
    ctx.clearRect(0, 0, ow, oh);
    const screen = size();
    for (const e of surfaces()) {
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

  // The counter in the corner marker, or -1. The layout is xclient's.
  function marker() {
    compose(0, 0, CELL * CELLS, CELL, CELLS, 1);
    const d = ctx.getImageData(0, 0, CELLS, 1).data;
    const bit = (i) => (d[i * 4] + d[i * 4 + 1] + d[i * 4 + 2] > 382 ? 1 : 0);
    if (!bit(0) || bit(1)) return -1;
    let c = 0;
    for (let i = 0; i < 16; i++) c = (c << 1) | bit(2 + i);
    let sum = 0;
    for (let i = 0; i < 4; i++) sum = (sum << 1) | bit(18 + i);
    return sum === ((c ^ (c >> 4) ^ (c >> 8) ^ (c >> 12) ^ 9) & 15) ? c : -1;
  }

  function shown(at, frame) {
    for (const w of [...watchers]) w(at, frame);
  }

  // Which frame a picture of the video is, by its RTP timestamp; undefined where the browser does not tell.
  function pictured(video) {
    if (!window.VideoFrame || video.readyState < 2) return undefined;
    const f = new VideoFrame(video);
    const rtp = f.metadata?.().rtpTimestamp;
    f.close();
    return rtp;
  }

  // Video: the browser tells of each frame it presents. A picture taken then may be the next frame's already, which it presents later.
  const bound = new WeakSet();
  function follow(video) {
    if (bound.has(video)) return;
    bound.add(video);
    const each = (_now, { rtpTimestamp: told }) => {
      const at = performance.now();
      video.requestVideoFrameCallback(each);
      if (watchers.size && video.closest('#screen')) shown(at, { told, taken: pictured(video) });
    };
    video.requestVideoFrameCallback(each);
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
    // Every picture shown for some milliseconds: counter and wall clock in ms.
    watch(ms) {
      adopt();
      return new Promise((resolve) => {
        const seen = [];
        const counters = new Map(); // of frames whose picture was taken
        const look = (at, frame) => {
          const counter = marker();
          const other = frame && frame.taken !== undefined && frame.taken !== frame.told;
          if (frame) counters.set(frame.taken, counter);
          seen.push([other ? () => counters.get(frame.told) ?? counter : () => counter, performance.timeOrigin + at]);
        };
        watchers.add(look);
        setTimeout(() => {
          watchers.delete(look);
          resolve(seen.flatMap(([counter, at]) => [counter(), at]));
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
