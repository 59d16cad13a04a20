/**
 * Spans: requests for a part of a large object. The first one finds out what the object is (which version,
 * how long); the later ones fetch what is missing of that version, and of no other.
 */

import type { FetchSpan } from "../cache/large-body.ts";
import { LARGE_SPAN_BYTES } from "../cache/limits.ts";
import { LARGE_BLOCK_BYTES } from "../cache/store/disk/limits.ts";
import type { StoredResponse } from "../cache/stored.ts";
import { type BodyReader, sliceReader } from "../http/body.ts";
import { parseContentRange } from "../http/range.ts";
import { splitList } from "../http/syntax.ts";
import { type Validator, validatorOf } from "../http/validator.ts";
import { UpstreamError, type UpstreamResponse } from "../upstream/next-hop.ts";
import type { EdgeContext } from "./context.ts";
import type { RoutedExchange } from "./exchange.ts";
import { askOrigin } from "./phases/fetch.ts";
import { mayBeOnDisk } from "./storing.ts";

/** Longest end of an object that is asked for as an end, in bytes: beyond it the whole is asked for. */
const SUFFIX_BYTES_MAX = 1024 ** 4;

/**
 * The Range with which a flight for `x` should begin, at the bounds of blocks: null to ask for the whole.
 * A range of what is not known is fetched as such; so is a large object that has to be confirmed.
 */
export function firstRange(
  x: RoutedExchange,
  context: EdgeContext,
  entry: StoredResponse | null,
): string | null {
  if (x.method !== "GET" || !mayBeOnDisk(x, context)) return null;
  if (entry !== null && entry.large === null) return null;
  // A refresh behind the viewers' backs is for none of them in particular.
  if (entry !== null && x.refreshing) return `bytes=0-${LARGE_SPAN_BYTES - 1}`;
  const value = x.request.fields.get("range");
  const [spec] = value !== null && /^bytes=/i.test(value) ? splitList(value.slice(6)) : [];
  const match = /^([0-9]{0,15})-([0-9]{0,15})$/.exec(spec ?? "");
  if (match === null) return null;
  const [, first = "", last = ""] = match;
  if (first === "") {
    const bytes = Number(last);
    // One block more, so that the bytes from the next block's beginning on hold all that is wanted.
    return last === "" || bytes === 0 || bytes > SUFFIX_BYTES_MAX
      ? null
      : `bytes=-${bytes + LARGE_BLOCK_BYTES}`;
  }
  const start = Math.floor(Number(first) / LARGE_BLOCK_BYTES) * LARGE_BLOCK_BYTES;
  const wanted = last === "" ? Number.POSITIVE_INFINITY : Number(last) + 1;
  if (wanted <= Number(first)) return null;
  const end = Math.min(start + LARGE_SPAN_BYTES, Math.ceil(wanted / LARGE_BLOCK_BYTES) * LARGE_BLOCK_BYTES);
  return `bytes=${start}-${end - 1}`;
}

/** What the answer to a Range is of. */
export interface Part {
  /** The answer, as if the whole had been asked for: status 200, and without Content-Range. */
  readonly response: UpstreamResponse & { readonly bodyLength: number };
  readonly start: number;
  /** The first byte beyond. */
  readonly end: number;
  /** Null when parts of two answers can not be put together. */
  readonly validator: Validator | null;
}

/** Reads a 206 that answers one of our own ranges; null when it is not to be used. */
export function partOf(response: UpstreamResponse): Part | null {
  const range = parseContentRange(response.fields.get("content-range"));
  if (range === null || range.length === null || response.body === null) return null;
  const size = range.end - range.start + 1;
  if (response.bodyLength !== null && response.bodyLength !== size) return null;
  const fields = response.fields.clone();
  fields.delete("content-range");
  fields.set("content-length", String(range.length));
  return {
    response: { ...response, status: 200, fields, framing: "length", bodyLength: range.length },
    start: range.start,
    end: range.end + 1,
    validator: validatorOf(fields, response.responseTimeMs),
  };
}

/** What of a part can be kept: its whole blocks. */
export interface Blocks {
  readonly body: BodyReader;
  readonly start: number;
  readonly end: number;
}

/** Cuts a part to whole blocks; null when there is none. */
export function blocksOf({ response, start, end }: Part): Blocks | null {
  const first = Math.ceil(start / LARGE_BLOCK_BYTES) * LARGE_BLOCK_BYTES;
  const last = end === response.bodyLength ? end : Math.floor(end / LARGE_BLOCK_BYTES) * LARGE_BLOCK_BYTES;
  if (first >= last || response.body === null) return null;
  const body =
    first === start && last === end
      ? response.body
      : sliceReader(response.body, first - start, last - start - 1);
  return { body, start: first, end: last };
}

/** Fetches what is missing of a version, on behalf of one exchange. */
export function spanFetcher(x: RoutedExchange, context: EdgeContext, validator: Validator | null): FetchSpan {
  return async (start, end) => {
    if (validator === null) return null;
    const response = await askOrigin(x, context, {
      cacheable: true,
      revalidate: null,
      method: "GET",
      body: null,
      signal: null,
      keepRange: false,
      span: { range: `bytes=${start}-${end - 1}`, ifRange: validator.value },
    });
    const part = response.status === 206 ? partOf(response) : null;
    const same = part?.validator?.kind === validator.kind && part.validator.value === validator.value;
    if (part !== null && same && part.start === start && part.end === end) return part.response.body;
    response.body?.cancel();
    if (response.status >= 500 || response.status === 429)
      throw new UpstreamError(
        "http_protocol_error",
        `the origin answered ${response.status} to a request for a range`,
      );
    // A 200 is another version, or an origin that has forgotten how to do ranges: in both cases this one is over.
    return null;
  };
}
