/** Files of an origin for tests: bytes that tell their place and version, answered as a file server does. */

import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** Bytes that tell their place and their version: any mixture shows. */
export function content(length: number, version: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 2_654_435_761) ^ version;
  return new Uint8Array(words.buffer, 0, length);
}

/** A file at an origin. */
export interface OriginFile {
  bytes: Uint8Array<ArrayBuffer>;
  etag: string | null;
  /** Answers ranges with 206. */
  ranges: boolean;
  fields: Record<string, string>;
}

/** Answers ranges and conditions as a file server does. */
export function fileAnswer(request: Request, file: OriginFile): Response {
  const headers: Record<string, string> = {
    "content-type": "video/mp4",
    "cache-control": "max-age=3600",
    "accept-ranges": "bytes",
    ...(file.etag === null ? {} : { etag: file.etag }),
    ...file.fields,
  };
  if (file.etag !== null && request.headers.get("if-none-match") === file.etag)
    return new Response(null, { status: 304, headers });
  const ifRange = request.headers.get("if-range");
  const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.get("range") ?? "");
  const { length } = file.bytes;
  if (range === null || !file.ranges || (ifRange !== null && ifRange !== file.etag))
    return new Response(file.bytes, { headers });
  const [, first = "", last = ""] = range;
  const start = first === "" ? Math.max(0, length - Number(last)) : Number(first);
  const end = first === "" || last === "" ? length : Math.min(length, Number(last) + 1);
  if (start >= length)
    return new Response(null, {
      status: 416,
      headers: { ...headers, "content-range": `bytes */${length}` },
    });
  return new Response(file.bytes.subarray(start, end), {
    status: 206,
    headers: { ...headers, "content-range": `bytes ${start}-${end - 1}/${length}` },
  });
}

/** A file server whose way with the whole the test says, with its true length; `target` tells which is meant. */
export async function startFileOrigin(
  file: Uint8Array,
  whole: (response: ServerResponse, target: string) => void | Promise<void>,
): Promise<{
  readonly url: string /** Ranges that were asked for. */;
  readonly ranges: string[];
  stop(): Promise<void>;
}> {
  const plain = { "content-type": "video/mp4", "cache-control": "max-age=3600", etag: '"v1"' };
  const ranges: string[] = [];
  const server = createServer((request, response) => {
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    if (range === null) {
      response.writeHead(200, { ...plain, "content-length": file.byteLength });
      void whole(response, request.url ?? "");
      return;
    }
    ranges.push(range[0]);
    const [start, end] = [Number(range[1]), Math.min(file.byteLength, Number(range[2]) + 1)];
    const place = `bytes ${start}-${end - 1}/${file.byteLength}`;
    response.writeHead(206, { ...plain, "content-range": place, "content-length": end - start });
    response.end(file.subarray(start, end));
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ranges,
    async stop() {
      server.closeAllConnections();
      await once(server.close(), "close");
    },
  };
}
