/**
 * What a whole edge may serve while it is killed again and again: each path has versions, whose bytes tell path
 * and version; a purge or an invalidation that was acknowledged raises the least version that may be seen.
 */

import { content, fileAnswer } from "../kit/file-origin.ts";
import type { OriginHandler } from "../kit/origin.ts";
import type { RawAnswer } from "../kit/raw-viewer.ts";

const KB = 1024;
const SMALL = 40;
const MEDIUM = 6;
const LARGE = 6;

/** A path of the origin. */
export interface Item {
  readonly path: string;
  readonly index: number;
  readonly length: number;
  readonly tag: string;
  readonly group: string;
}

export const items: readonly Item[] = Array.from({ length: SMALL + MEDIUM + LARGE }, (_, index) => {
  const kind = index < SMALL ? "small" : index < SMALL + MEDIUM ? "medium" : "large";
  const length =
    kind === "small"
      ? 40 + ((index * 977) % 20_000)
      : kind === "medium"
        ? 300 * KB + index * 10_007
        : 3_000 * KB + index * 100_003;
  return { path: `/${kind}/${index}`, index, length, tag: `t${index % 7}`, group: `g${index % 5}` };
});

/** Versions: what the origin has, and what may be seen. */
export class Model {
  readonly #now = new Map<string, number>();
  readonly #least = new Map<string, number>();
  readonly #bytes = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly wrong: string[] = [];

  now({ path }: Item): number {
    return this.#now.get(path) ?? 1;
  }

  /** The least version that a request sent now may get. */
  least({ path }: Item): number {
    return this.#least.get(path) ?? 1;
  }

  /** The origin has another version from now on. */
  change(changed: readonly Item[]): Map<Item, number> {
    for (const item of changed) this.#now.set(item.path, this.now(item) + 1);
    return new Map(changed.map((item) => [item, this.now(item)]));
  }

  /** Nothing older than these may be seen by who asks from now on. */
  taken(versions: ReadonlyMap<Item, number>): void {
    for (const [item, version] of versions) this.#least.set(item.path, Math.max(this.least(item), version));
  }

  bytes({ path, index, length }: Item, version: number): Uint8Array<ArrayBuffer> {
    const key = `${path} ${version}`;
    let bytes = this.#bytes.get(key);
    if (bytes === undefined) {
      bytes = content(length, version * 64 + index);
      if (this.#bytes.size > 150) this.#bytes.clear();
      this.#bytes.set(key, bytes);
    }
    return bytes;
  }

  /** The origin. A POST changes what it names, and answers with the version. */
  readonly origin: OriginHandler = (request, { target }) => {
    if (target.startsWith("/group/")) {
      const group = target.slice("/group/".length);
      const versions = this.change(items.filter((item) => item.group === group));
      const body = JSON.stringify([...versions].map(([{ index }, version]) => [index, version]));
      return new Response(body, { headers: { "cache-group-invalidation": `"${group}"` } });
    }
    const item = items.find(({ path }) => path === target);
    if (item === undefined) return new Response("?", { status: 404 });
    if (request.method === "POST") {
      const versions = this.change([item]);
      return new Response(JSON.stringify([...versions].map(([{ index }, version]) => [index, version])));
    }
    const version = this.now(item);
    return fileAnswer(request, {
      bytes: this.bytes(item, version),
      etag: `"${version}"`,
      ranges: true,
      fields: { "surrogate-key": `all ${item.tag}`, "cache-groups": `"${item.group}"` },
    });
  };

  /** Holds an answer against what may be seen; `least` is from when it was asked. Its version, or null when it is wrong. */
  check(item: Item, answer: RawAnswer, least: number, ask: string): number | null {
    const { status, head, body } = answer;
    const field = (name: string) => new RegExp(`^${name}: *(.*)$`, "im").exec(head)?.[1] ?? "";
    const version = Number(/^"(\d+)"$/.exec(field("etag"))?.[1] ?? Number.NaN);
    const say = (what: string): null => {
      this.wrong.push(`${item.path} ${ask}: ${what}; at least v${least} of v${this.now(item)}: ${head}`);
      return null;
    };
    if (status === 416) return say("unsatisfiable");
    if (![200, 206, 304].includes(status)) return say(`status ${status}`);
    if (!(version >= least && version <= this.now(item))) return say(`version ${version}`);
    if (status === 304 || ask.startsWith("HEAD")) return version;
    const bytes = this.bytes(item, version);
    const same = (start: number, end: number, piece: Uint8Array) =>
      Buffer.compare(piece, bytes.subarray(start, end)) === 0;
    if (status === 200)
      return same(0, item.length, body) ? version : say(`${body.byteLength} bytes that are not it`);
    const boundary = /boundary="?([^"\s]+)/.exec(field("content-type"))?.[1];
    if (boundary === undefined) {
      const [, first, last] = /^bytes (\d+)-(\d+)\/\d+$/.exec(field("content-range")) ?? [];
      return same(Number(first), Number(last) + 1, body) ? version : say("a part that is not it");
    }
    let at = 0;
    for (let parts = 0; ; parts++) {
      const end = body.indexOf("\r\n\r\n", at);
      if (end < 0)
        return parts > 0 && body.subarray(at).toString("latin1").includes(`--${boundary}--`)
          ? version
          : say("no parts");
      const [, first, last] =
        /content-range: bytes (\d+)-(\d+)\//i.exec(body.toString("latin1", at, end)) ?? [];
      const [start, stop] = [Number(first), Number(last) + 1];
      if (!same(start, stop, body.subarray(end + 4, end + 4 + stop - start)))
        return say("a part of several that is not it");
      at = end + 4 + stop - start;
    }
  }
}
