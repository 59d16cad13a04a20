/** Lines of a file or of standard input, plain or gzip, with limits: a line too long is told of, not kept. */
import { createReadStream } from "node:fs";
import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { messageOf, ProximaError } from "../base/errors.ts";

/** A longer line is not read. */
export const LINE_CHARS_MAX = 65_536;
const CHUNK_BYTES = 1_048_576;
const GZIP_MAGIC = [0x1f, 0x8b] as const;

/** Some lines at a time; `tooLong` counts those that were left out, `readBytes` what was read of the file so far. */
export interface LineBatch {
  readonly lines: readonly string[];
  readonly tooLong: number;
  readonly readBytes: number;
}

/** Reads `file` ("-" is standard input) in batches of lines. Rejects with a ProximaError that names the file. */
export async function* readLines(file: string): AsyncGenerator<LineBatch> {
  const name = file === "-" ? "standard input" : file;
  const source: Readable =
    file === "-" ? process.stdin : createReadStream(file, { highWaterMark: CHUNK_BYTES });
  try {
    yield* splitLines(source);
  } catch (error) {
    throw new ProximaError("log_unreadable", sentence(name, error), { source: "node", cause: error });
  } finally {
    source.destroy();
  }
}

async function* splitLines(source: Readable): AsyncGenerator<LineBatch> {
  let readBytes = 0;
  // A line may begin in one piece and end in another; latin1 is enough, since keys only have to differ.
  let rest = "";
  let skipping = false;
  for await (const piece of unpacked(source, (bytes) => (readBytes += bytes))) {
    const lines = piece.toString("latin1").split("\n");
    let tooLong = 0;
    if (skipping && lines.length > 1) {
      lines.shift();
      skipping = false;
    }
    if (skipping) continue;
    lines[0] = rest + (lines[0] ?? "");
    rest = lines.pop() ?? "";
    const kept = lines.some((line) => line.length > LINE_CHARS_MAX)
      ? lines.filter((line) => line.length <= LINE_CHARS_MAX)
      : lines;
    tooLong += lines.length - kept.length;
    if (rest.length > LINE_CHARS_MAX) {
      tooLong++;
      rest = "";
      skipping = true;
    }
    yield { lines: kept, tooLong, readBytes };
  }
  if (rest !== "") yield { lines: [rest], tooLong: 0, readBytes };
}

/** The source's bytes, unpacked when they begin as gzip does: by content, since standard input has no name. */
export async function* unpacked(source: Readable, count: (bytes: number) => void): AsyncGenerator<Buffer> {
  const pieces = counted(source, count);
  let start = Buffer.alloc(0);
  // The first piece may be a single byte, which says nothing yet.
  while (start.length < GZIP_MAGIC.length) {
    const next = await pieces.next();
    if (next.done === true) break;
    start = Buffer.concat([start, next.value]);
  }
  if (start[0] !== GZIP_MAGIC[0] || start[1] !== GZIP_MAGIC[1]) {
    if (start.length > 0) yield start;
    yield* pieces;
    return;
  }
  const gunzip = createGunzip({ chunkSize: CHUNK_BYTES });
  // An error of either ends `gunzip` with it; that is where it is seen.
  pipeline(Readable.from(withFirst(start, pieces)), gunzip, () => {});
  try {
    for await (const piece of gunzip) yield piece;
  } finally {
    gunzip.destroy();
  }
}

async function* withFirst(first: Buffer, more: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield* more;
}

async function* counted(source: Readable, count: (bytes: number) => void): AsyncGenerator<Buffer> {
  for await (const piece of source) {
    const bytes = Buffer.isBuffer(piece) ? piece : Buffer.from(piece);
    if (bytes.length === 0) continue;
    count(bytes.length);
    yield bytes;
  }
}

function sentence(name: string, error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code === "ENOENT") return `there is no file ${JSON.stringify(name)}`;
  if (code === "EISDIR") return `${JSON.stringify(name)} is a directory; a file of log lines was expected`;
  if (code === "EACCES" || code === "EPERM") return `${JSON.stringify(name)} may not be read by this user`;
  if (code.startsWith("Z_") || code === "ERR_BUFFER_OUT_OF_BOUNDS") {
    return `${JSON.stringify(name)} begins as gzip does, but can not be unpacked: ${messageOf(error)}`;
  }
  return `${JSON.stringify(name)} can not be read: ${messageOf(error)}`;
}
