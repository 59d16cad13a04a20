/** Many viewers of one object at once: each on a connection of its own, each timed. */

/** Longest time that a viewer waits, in milliseconds. */
const VIEWER_WAIT_MS = 30_000;

interface Viewer {
  left: number | null;
  head: string;
  done(ms: number | null): void;
}

/** What the viewers saw. */
export interface CrowdReport {
  /** Milliseconds until the last byte, for those who got it; sorted. */
  readonly timesMs: Float64Array;
  /** Viewers without a whole answer of status 200. */
  readonly failures: number;
}

/** Opens the connections, then asks for `path` on all of them at the same moment. */
export async function crowd(port: number, host: string, path: string, viewers: number): Promise<CrowdReport> {
  let askedMs = 0;
  const ended: Promise<number | null>[] = [];
  const open = (): Promise<Bun.Socket<Viewer>> => {
    const end = Promise.withResolvers<number | null>();
    ended.push(end.promise);
    return Bun.connect<Viewer>({
      hostname: "127.0.0.1",
      port,
      data: { left: null, head: "", done: end.resolve },
      socket: {
        data(socket, bytes) {
          take(socket.data, bytes, () => performance.now() - askedMs);
        },
        close: (socket) => socket.data.done(null),
        error: (socket) => socket.data.done(null),
        connectError: (socket) => socket.data.done(null),
      },
    });
  };
  const sockets = await Promise.all(Array.from({ length: viewers }, open));
  askedMs = performance.now();
  for (const socket of sockets) socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  const late = Bun.sleep(VIEWER_WAIT_MS).then(() => null);
  const times = await Promise.all(ended.map((one) => Promise.race([one, late])));
  for (const socket of sockets) socket.terminate();
  const whole = times.filter((ms) => ms !== null);
  return { timesMs: Float64Array.from(whole).sort(), failures: viewers - whole.length };
}

/** Takes a piece of an answer: the length is told, or the body is chunked and ends with an empty chunk. */
function take(viewer: Viewer, bytes: Buffer, nowMs: () => number): void {
  if (viewer.left === null) {
    viewer.head += bytes.toString("latin1");
    const end = viewer.head.indexOf("\r\n\r\n");
    if (end < 0) return;
    if (!viewer.head.startsWith("HTTP/1.1 200")) {
      viewer.done(null);
      return;
    }
    const length = /\r\ncontent-length: *(\d+)/i.exec(viewer.head.slice(0, end))?.[1];
    if (length === undefined) {
      if (viewer.head.endsWith("\r\n0\r\n\r\n")) viewer.done(nowMs());
      return;
    }
    viewer.left = Number(length) - (viewer.head.length - end - 4);
  } else viewer.left -= bytes.byteLength;
  if (viewer.left <= 0) viewer.done(nowMs());
}
