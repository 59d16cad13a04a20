/** HTTP/2 written by hand: header blocks that no client library would send (RFC 9113, RFC 7541 without tables). */
import { connect } from "node:net";

/** How the edge ended a stream or the connection. */
export interface RawHttp2Outcome {
  /** Status of the answer where it is in HPACK's static table or a plain literal; null when none came. */
  readonly status: number | null;
  readonly reset: boolean;
  readonly goaway: boolean;
  readonly closed: boolean;
}

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
const STATIC_STATUS: Readonly<Record<number, number>> = {
  8: 200,
  9: 204,
  10: 206,
  11: 304,
  12: 400,
  13: 404,
  14: 500,
};

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([...length, rest]), bytes]);
}

/** Sends one request on a new connection in clear text: its fields exactly as given, and its body. */
export function sendHttp2(
  port: number,
  fields: readonly (readonly [string, string])[],
  body: string | null = null,
): Promise<RawHttp2Outcome> {
  const block = Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let received = Buffer.alloc(0);
    let status: number | null = null;
    let [reset, goaway, ended] = [false, false, false];
    const done = (closed: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ status, reset, goaway, closed });
    };
    const timer = setTimeout(() => done(false), 2_000);
    socket.on("connect", () => {
      socket.write(PREFACE);
      socket.write(frame(4, 0, 0, Buffer.alloc(0)));
      socket.write(frame(1, body === null ? 5 : 4, 1, block));
      if (body !== null) socket.write(frame(0, 1, 1, Buffer.from(body, "latin1")));
    });
    socket.on("data", (piece: Buffer) => {
      received = Buffer.concat([received, piece]);
      while (received.length >= 9 && received.length >= 9 + received.readUIntBE(0, 3)) {
        const length = received.readUIntBE(0, 3);
        const [type, flags] = [received[3], received[4] ?? 0];
        const payload = received.subarray(9, 9 + length);
        if (type === 1) {
          const first = payload[0] ?? 0;
          const literal = /[1-5][0-9]{2}/.exec(payload.subarray(0, 12).toString("latin1"))?.[0];
          status =
            first >= 0x88 && first <= 0x8e ? (STATIC_STATUS[first - 0x80] ?? null) : Number(literal ?? 999);
        }
        if (type === 3) reset = true;
        if (type === 7) goaway = true;
        if ((type === 0 || type === 1) && (flags & 1) === 1) ended = true;
        if (type === 4 && (flags & 1) === 0) socket.write(frame(4, 1, 0, Buffer.alloc(0)));
        received = received.subarray(9 + length);
      }
      if (reset || goaway || ended) done(false);
    });
    socket.on("error", () => done(true));
    socket.on("close", () => done(true));
  });
}
