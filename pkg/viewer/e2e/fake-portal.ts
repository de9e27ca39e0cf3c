// A portal that says it is there, and notes who comes for a session.

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export class FakePortal {
	readonly opened: string[] = [];
	/** Whether it answers. */
	up = true;

	private constructor(private readonly server: Server) {}

	static async start(): Promise<FakePortal> {
		const server = createServer();
		const portal = new FakePortal(server);
		server.on("request", (q, r) => {
			if (!portal.up) return void q.socket.destroy();
			if (q.url === "/ping") return void r.writeHead(204, { "Access-Control-Allow-Origin": "*" }).end();
			if (q.url?.startsWith("/sessions/")) portal.opened.push(q.url);
			r.writeHead(200, { "Content-Type": "text/html" }).end("<h1>The portal</h1>");
		});
		await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
		return portal;
	}

	get origin(): string {
		return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
	}

	async close(): Promise<void> {
		this.server.closeAllConnections();
		await new Promise((resolve) => this.server.close(resolve));
	}
}
