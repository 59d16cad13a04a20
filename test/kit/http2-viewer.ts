/** Viewers on HTTP/2: one session, many requests, each read whole or to where it broke. */
import { type ClientHttp2Session, connect } from "node:http2";

/** What came of one request. */
export interface Http2Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** The stream's error, null when it ended in order. */
  readonly error: Error | null;
}

/** One HTTP/2 session. */
export class Http2Viewer {
  readonly session: ClientHttp2Session;

  constructor(origin: string, ca: string) {
    this.session = connect(origin, { ca });
    this.session.on("error", () => {});
  }

  /** Sends a request and reads its answer; never rejects. `onData` sees every piece. */
  get(
    path: string,
    headers: Record<string, string> = {},
    onData: (bytes: number) => void = () => {},
  ): Promise<Http2Answer> {
    return new Promise((resolve) => {
      const stream = this.session.request({ ":path": path, ...headers });
      const pieces: Buffer[] = [];
      let status = 0;
      let fields: Record<string, string> = {};
      let error: Error | null = null;
      stream.on("response", (received) => {
        status = Number(received[":status"]);
        fields = Object.fromEntries(Object.entries(received).map(([name, value]) => [name, String(value)]));
      });
      stream.on("data", (piece: Buffer) => {
        pieces.push(piece);
        onData(piece.byteLength);
      });
      stream.on("error", (cause: Error) => {
        error = cause;
      });
      stream.on("close", () => resolve({ status, headers: fields, body: Buffer.concat(pieces), error }));
      stream.end();
    });
  }

  close(): void {
    this.session.destroy();
  }
}
