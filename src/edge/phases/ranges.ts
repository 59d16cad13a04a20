/**
 * Ranges towards the viewer: what a Range asks of a representation (RFC 9110 section 14.2), and the 206 or
 * 416 that answers it, from whatever holds the bytes.
 */
import { ProximaError } from "../../base/errors.ts";
import { type BodyReader, blobReader, bodyOf } from "../../http/body.ts";
import { multipartOutline } from "../../http/byteranges.ts";
import type { FieldReader, Fields } from "../../http/fields.ts";
import {
  type ByteRange,
  formatContentRange,
  formatUnsatisfiedRange,
  ifRangeMatches,
  parseRange,
} from "../../http/range.ts";
import type { ViewerBody, ViewerResponse } from "../message.ts";

/** What a representation is, as far as ranges are concerned. */
export interface Representation {
  readonly length: number;
  readonly etag: string | null;
  readonly lastModifiedMs: number | null;
  readonly dateMs: number | null;
}

/** What to send of it. */
export type RangePlan =
  | { readonly kind: "whole" }
  | { readonly kind: "unsatisfiable" }
  | { readonly kind: "parts"; readonly parts: readonly ByteRange[] };

/** What an owner has sent of a body that it answered for the asker's viewer: nothing when that one has it already. */
export type GivenPart = RangePlan | { readonly kind: "unchanged" };

const WHOLE: RangePlan = { kind: "whole" };

/** Reads Range and If-Range of a request against a 200 response. */
export function planRanges(method: string, fields: FieldReader, about: Representation): RangePlan {
  const value = method === "GET" ? fields.get("range") : null;
  if (value === null || !ifRangeMatches(fields.get("if-range"), about)) return WHOLE;
  const range = parseRange(value, about.length);
  if (range.kind === "none") return WHOLE;
  return range.kind === "unsatisfiable" ? range : { kind: "parts", parts: range.ranges };
}

/** 416 for a representation of `length` bytes; `fields` are those of the 200 and are changed. */
export function unsatisfiable(fields: Fields, length: number): ViewerResponse {
  fields.set("content-range", formatUnsatisfiedRange(length));
  fields.set("content-length", "0");
  fields.delete("content-encoding");
  return { status: 416, fields, body: null };
}

/**
 * 206 for one range or several; `fields` are those of the 200 and are changed. `read` gives the bytes from
 * `start` to `end`, both included; for several ranges it is called for each in its turn. When it gives bytes in
 * memory it does so for all of them.
 */
export function partial(
  fields: Fields,
  length: number,
  parts: readonly ByteRange[],
  read: (range: ByteRange) => Exclude<ViewerBody, null>,
): ViewerResponse {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) {
    fields.set("content-range", formatContentRange(only.start, only.end, length));
    fields.set("content-length", String(only.end - only.start + 1));
    return { status: 206, fields, body: read(only) };
  }
  const outline = multipartOutline(parts, length, fields.get("content-type"), crypto.randomUUID());
  fields.set("content-type", outline.type);
  fields.set("content-length", String(outline.length));
  fields.delete("content-range");
  const first = parts[0] === undefined ? null : read(parts[0]);
  if (first instanceof Uint8Array || first instanceof Blob) {
    // Everything is here: one body with a length.
    const pieces: (Uint8Array<ArrayBuffer> | Blob)[] = [];
    for (const [i, head] of outline.heads.entries()) {
      pieces.push(head as Uint8Array<ArrayBuffer>);
      const part = parts[i];
      if (part !== undefined) pieces.push((i === 0 ? first : read(part)) as Uint8Array<ArrayBuffer> | Blob);
    }
    return { status: 206, fields, body: new Blob(pieces) };
  }
  const bodies = outline.heads.flatMap((head, i): (() => Exclude<ViewerBody, null>)[] => {
    const part = parts[i];
    if (part === undefined) return [() => head];
    return [() => head, () => (i === 0 && first !== null ? first : read(part))];
  });
  return { status: 206, fields, body: chain(bodies) };
}

/** Reads ranges, in order, out of one body that consists of other ranges of the representation, one after another. */
export class RangeSource {
  readonly #source: BodyReader;
  readonly #held: readonly ByteRange[];
  readonly #last: ByteRange | undefined;
  /** Which of the held ranges comes next, and from which position on. */
  #index = 0;
  #position: number;
  #rest: Uint8Array | null = null;

  /** `wanted` are the ranges that will be read. */
  constructor(source: BodyReader, held: readonly ByteRange[], wanted: readonly ByteRange[]) {
    this.#source = source;
    this.#held = held;
    this.#last = wanted.at(-1);
    this.#position = held[0]?.start ?? 0;
  }

  /** The bytes of a range that the body holds, behind those that were read before. */
  reader(range: ByteRange): BodyReader {
    let left = range.end - range.start + 1;
    return {
      read: async () => {
        while (left > 0) {
          const bytes = await this.#next(range);
          if (bytes === null)
            throw new ProximaError("body_incomplete", "the body ended before the range that was read of it", {
              source: "origin",
            });
          if (bytes.byteLength === 0) continue;
          left -= bytes.byteLength;
          return bytes;
        }
        // What comes behind the last range is of no interest.
        if (range === this.#last) this.#source.cancel();
        return null;
      },
      cancel: () => this.#source.cancel(),
    };
  }

  /** What the next piece has of a range. */
  async #next(range: ByteRange): Promise<Uint8Array | null> {
    const piece = this.#rest ?? (await this.#source.read());
    this.#rest = null;
    const held = this.#held[this.#index];
    if (piece === null || held === undefined) return null;
    const from = this.#position;
    const to = Math.min(from + piece.byteLength, held.end + 1);
    const cutFrom = Math.max(from, range.start);
    const cutTo = Math.min(to, range.end + 1);
    // Up to the end of this range and of what is held in one go; the rest is for the next ones.
    const taken = Math.max(Math.min(to, range.end + 1), from);
    this.#position = taken;
    if (taken - from < piece.byteLength) this.#rest = piece.subarray(taken - from);
    if (this.#position > held.end) {
      this.#index++;
      this.#position = this.#held[this.#index]?.start ?? this.#position;
    }
    return cutFrom < cutTo ? piece.subarray(cutFrom - from, cutTo - from) : new Uint8Array(0);
  }
}

/** Bodies one after another, each opened when the one before has ended. */
export function chain(bodies: readonly (() => Exclude<ViewerBody, null>)[]): BodyReader {
  let next = 0;
  let current: BodyReader | null = null;
  let cancelled = false;
  return {
    async read() {
      for (;;) {
        if (current === null) {
          const open = bodies[next++];
          if (cancelled)
            throw new ProximaError("viewer_gone", "the viewer gave up the response", { source: "viewer" });
          if (open === undefined) return null;
          current = readerOf(open());
        }
        const piece = await current.read();
        if (piece !== null) return piece;
        current = null;
      }
    },
    cancel() {
      cancelled = true;
      current?.cancel();
    },
  };
}

function readerOf(body: Exclude<ViewerBody, null>): BodyReader {
  if (body instanceof Uint8Array) return bodyOf(body);
  return body instanceof Blob ? blobReader(body) : body;
}
