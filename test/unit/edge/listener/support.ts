/** Listeners on loopback with a certificate of their own, and clients that send exact bytes. */
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import { systemClock } from "../../../../src/base/clock.ts";
import {
  type EdgeListeners,
  type ListenerOptions,
  startListeners,
} from "../../../../src/edge/listener/edge-listener.ts";
import type { RequestHandler, ViewerBody, ViewerResponse } from "../../../../src/edge/message.ts";
import { ensureLocalCa } from "../../../../src/edge/tls/local-ca.ts";
import type { TlsMaterial } from "../../../../src/edge/tls/material.ts";
import type { BodyReader } from "../../../../src/http/body.ts";
import { Fields } from "../../../../src/http/fields.ts";

/** What a test made and has to give back. */
const cleanups: (() => unknown)[] = [];

/** Runs `run` after the test. */
export function after(run: () => unknown): void {
  cleanups.push(run);
}

/** To be called in afterEach. */
export async function cleanUp(): Promise<void> {
  for (const run of cleanups.splice(0).reverse()) await run();
}

/** A directory that is removed after the test. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "proxima-listener-"));
  after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

let material: Promise<{ tls: TlsMaterial; ca: string }> | null = null;

/** A certificate for localhost and 127.0.0.1, made once for the test file. */
export function testTls(): Promise<{ tls: TlsMaterial; ca: string }> {
  material ??= (async () => {
    const directory = await mkdtemp(join(tmpdir(), "proxima-listener-ca-"));
    const ca = await ensureLocalCa(directory);
    const pair = await ca.issue(["localhost", "127.0.0.1"]);
    await rm(directory, { recursive: true });
    return { tls: { default: pair, named: [], minVersion: "1.2" }, ca: ca.cert };
  })();
  return material;
}

export const loopback = { hostname: "127.0.0.1", port: 0 };

/** Starts listeners that are stopped after the test. Errors are collected. */
export async function start(
  handler: RequestHandler,
  options: Partial<ListenerOptions> = {},
): Promise<EdgeListeners & { errors: unknown[]; http: number; https: number }> {
  const errors: unknown[] = [];
  const { tls: material } = await testTls();
  const listeners = await startListeners({
    http: loopback,
    https: null,
    http3: false,
    proxyProtocol: false,
    tls: material,
    handler,
    altSvc: () => true,
    requestBodyBytesMax: 1_000_000,
    clock: systemClock,
    onError: (error) => errors.push(error),
    ...options,
  });
  after(() => listeners.stop());
  return Object.assign(listeners, {
    errors,
    http: listeners.httpAddress?.port ?? 0,
    https: listeners.httpsAddress?.port ?? 0,
  });
}

/** A text answer. */
export function text(
  body: ViewerBody | string,
  fields: Record<string, string> = {},
  status = 200,
): ViewerResponse {
  return {
    status,
    fields: Fields.from(Object.entries({ "content-type": "text/plain", ...fields })),
    body: typeof body === "string" ? new TextEncoder().encode(body) : body,
  };
}

/** A body that gives these pieces and then ends, or fails. */
export function pieces(
  list: (Uint8Array | string)[],
  failure: Error | null = null,
): BodyReader & { cancelled: boolean } {
  const rest = list.map((piece) => (typeof piece === "string" ? new TextEncoder().encode(piece) : piece));
  return {
    cancelled: false,
    async read() {
      await Bun.sleep(0);
      const piece = rest.shift();
      if (piece !== undefined) return piece;
      if (failure !== null) throw failure;
      return null;
    },
    cancel() {
      this.cancelled = true;
    },
  };
}

/** What came back on a raw connection. */
export interface RawAnswer {
  readonly text: string;
  readonly closed: boolean;
  readonly reset: boolean;
}

/** Sends exact bytes and gathers what comes until the connection closes, `until` is seen or `waitMs` is over. */
export function raw(
  port: number,
  bytes: string | Uint8Array,
  options: { tls?: boolean; until?: string; waitMs?: number } = {},
): Promise<RawAnswer> {
  return new Promise((resolve) => {
    let text = "";
    let reset = false;
    const socket = options.tls
      ? tls.connect({ host: "127.0.0.1", port, rejectUnauthorized: false }, () => send())
      : net.connect(port, "127.0.0.1", () => send());
    const send = () => socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
    const done = (closed: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ text, closed, reset });
    };
    const timer = setTimeout(() => done(false), options.waitMs ?? 2_000);
    socket.on("data", (piece) => {
      text += piece.toString("latin1");
      if (options.until !== undefined && text.includes(options.until)) done(false);
    });
    socket.on("error", () => {
      reset = true;
    });
    socket.on("close", () => done(true));
  });
}

/** A GET whose answer is read to the end of the connection. */
export function get(path: string, fields = ""): string {
  return `GET ${path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n${fields}\r\n`;
}
