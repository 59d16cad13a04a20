/** What tests use of Express, which has no types of its own. */
declare module "express" {
  import type { IncomingMessage, RequestListener, Server, ServerResponse } from "node:http";

  interface Reply extends ServerResponse {
    send(body: unknown): this;
    json(body: unknown): this;
    status(status: number): this;
    set(name: string, value: string): this;
    type(name: string): this;
    redirect(status: number, to: string): void;
  }
  type Handler = (request: IncomingMessage, response: Reply, next: (error?: unknown) => void) => void;
  interface Application extends RequestListener {
    use(handler: Handler): this;
    use(path: string, handler: Handler): this;
    get(path: string, handler: Handler): this;
    listen(port: number, host: string, ready: () => void): Server;
  }
  export default function express(): Application;
}
