/** Requests and answers of storage, apart from any server: the listener's own have the same shape. */
import type { BodyReader } from "../http/body.ts";
import { evaluateConditional } from "../http/conditional.ts";
import { formatHttpDate } from "../http/date.ts";
import { type FieldReader, Fields } from "../http/fields.ts";
import { formatContentRange, formatUnsatisfiedRange, ifRangeMatches, parseRange } from "../http/range.ts";
import type { ZoneFile } from "./zone-store.ts";

/** A request to storage. */
export interface StorageRequest {
  readonly method: string;
  /** Absolute: scheme, authority, and the target as it was received. */
  readonly url: string;
  readonly fields: FieldReader;
  readonly peerAddress: string;
  body(): BodyReader | null;
}

/** An answer. */
export interface StorageResponse {
  readonly status: number;
  readonly fields: Fields;
  readonly body: Uint8Array | BodyReader | null;
}

/** A request with its target taken apart. */
export interface Asked {
  readonly request: StorageRequest;
  /** Still encoded. */
  readonly path: string;
  /** Without its `?`. */
  readonly query: string;
  readonly parameters: URLSearchParams;
}

/** Takes the target apart; null for a URL that is none. */
export function askedOf(request: StorageRequest): Asked | null {
  const start = request.url.indexOf("/", request.url.indexOf("://") + 3);
  if (start < 0) return null;
  const target = request.url.slice(start);
  const at = target.indexOf("?");
  const path = at < 0 ? target : target.slice(0, at);
  const query = at < 0 ? "" : target.slice(at + 1);
  return { request, path, query, parameters: new URLSearchParams(query) };
}

/** A text as an answer. */
export function answer(
  status: number,
  text: string | null,
  type: string,
  fields: Readonly<Record<string, string>> = {},
): StorageResponse {
  const body = text === null ? null : new TextEncoder().encode(text);
  return {
    status,
    fields: Fields.from([
      ...(text === null ? [] : [["content-type", type] as const]),
      ["cache-control", "no-store"],
      ["x-content-type-options", "nosniff"],
      ...Object.entries(fields),
    ]),
    body,
  };
}

/** The entity tag of a file, in quotes. */
export function etagOf(file: Pick<ZoneFile, "hash" | "etag">): string {
  // With a dash, so that no client takes it for an MD5.
  return `"${file.etag ?? `${file.hash.slice(0, 32)}-0`}"`;
}

/** What became of a question for a file: a part of it, all of it, or none. */
export type FileAnswer =
  | {
      readonly kind: "file";
      readonly status: 200 | 206;
      readonly fields: Fields;
      readonly start: number;
      readonly end: number;
    }
  | { readonly kind: "not-modified"; readonly fields: Fields }
  | { readonly kind: "precondition-failed" }
  | { readonly kind: "unsatisfiable"; readonly contentRange: string };

/** Conditions and range of a GET or HEAD against a file (RFC 9110 sections 13 and 14). */
export function fileAnswer(
  method: string,
  asked: FieldReader,
  file: ZoneFile,
  etag = etagOf(file),
): FileAnswer {
  const lastModifiedMs = Math.floor(file.modifiedMs / 1_000) * 1_000;
  const validators = { etag, lastModifiedMs };
  const fields = Fields.from([
    ["content-type", file.type],
    ["etag", etag],
    ["last-modified", formatHttpDate(lastModifiedMs)],
    ["accept-ranges", "bytes"],
    ...Object.entries(file.fields),
  ]);
  switch (evaluateConditional(method, asked, validators)) {
    case "not-modified":
      fields.delete("content-type");
      return { kind: "not-modified", fields };
    case "precondition-failed":
      return { kind: "precondition-failed" };
    case "proceed":
  }
  const whole = (): FileAnswer => {
    fields.set("content-length", String(file.bytes));
    return { kind: "file", status: 200, fields, start: 0, end: file.bytes };
  };
  if (!ifRangeMatches(asked.get("if-range"), { ...validators, dateMs: null })) return whole();
  const range = parseRange(asked.get("range"), file.bytes);
  if (range.kind === "unsatisfiable")
    return { kind: "unsatisfiable", contentRange: formatUnsatisfiedRange(file.bytes) };
  const [only, ...others] = range.kind === "ranges" ? range.ranges : [];
  if (only === undefined || others.length > 0) return whole();
  fields.set("content-range", formatContentRange(only.start, only.end, file.bytes));
  fields.set("content-length", String(only.end + 1 - only.start));
  return { kind: "file", status: 206, fields, start: only.start, end: only.end + 1 };
}
