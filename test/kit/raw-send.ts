/** Exact bytes to an edge: what no HTTP client would send. */
import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";
import { parseAnswer, type RawAnswer } from "./raw-viewer.ts";

/** Where to send, and for how long a silent connection is waited for. */
export interface RawTarget {
  readonly port: number;
  /** Connects with TLS, trusting this CA. */
  readonly ca?: string;
  /** A connection that stays open without a byte for this long is taken for done, in milliseconds. */
  readonly quietMs?: number;
}

/** Sends text (as latin1) and gives back everything that came until the edge closed or fell silent. */
export function sendRaw(target: RawTarget, text: string): Promise<string> {
  const { port, ca, quietMs = 150 } = target;
  return new Promise((resolve) => {
    const socket =
      ca === undefined
        ? connectTcp({ host: "127.0.0.1", port })
        : connectTls({ host: "127.0.0.1", port, ca, servername: "localhost", ALPNProtocols: ["http/1.1"] });
    const pieces: Buffer[] = [];
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(Buffer.concat(pieces).toString("latin1"));
    };
    let timer = setTimeout(done, 5_000);
    const quiet = () => {
      clearTimeout(timer);
      timer = setTimeout(done, quietMs);
    };
    socket.on(ca === undefined ? "connect" : "secureConnect", () => {
      socket.write(Buffer.from(text, "latin1"));
      quiet();
    });
    socket.on("data", (piece: Buffer) => {
      pieces.push(piece);
      quiet();
    });
    socket.on("error", done);
    socket.on("close", done);
  });
}

/** One request without a body, its answer read to the end of the connection. */
export async function ask(
  target: RawTarget,
  line: string,
  fields: readonly (readonly [string, string])[] = [],
): Promise<RawAnswer & { header(name: string): string | null; readonly text: string }> {
  const lines = [["Connection", "close"] as const, ...fields].map(([name, value]) => `${name}: ${value}\r\n`);
  const nominated = fields.some(([name]) => name.toLowerCase() === "connection");
  const head = (nominated ? lines.slice(1) : lines).join("");
  const received = await sendRaw(
    { quietMs: nominated ? 150 : 3_000, ...target },
    `${line} HTTP/1.1\r\n${head}\r\n`,
  );
  const answer = parseAnswer(Buffer.from(received, "latin1"), line.startsWith("HEAD "));
  return {
    ...answer,
    text: answer.body.toString("latin1"),
    header: (name) => new RegExp(`^${name}: *(.*)$`, "im").exec(answer.head)?.[1] ?? null,
  };
}
