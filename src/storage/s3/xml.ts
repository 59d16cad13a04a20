/** XML of the S3 API: written by hand, read by the runtime's parser within limits and without document types. */
import { createHash } from "node:crypto";
import { joinBytes } from "../../http/body.ts";
import type { VerifiedSignature } from "../../http/sigv4/verify.ts";
import { XML_BYTES_MAX } from "../limits.ts";
import { answer, type StorageRequest, type StorageResponse } from "../message.ts";
import { StorageError } from "../storage-error.ts";

/** Most elements of a body. */
const ELEMENTS_MAX = 60_000;
const NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/";

/** An element to write: a text, or elements of names that may repeat. */
export type XmlValue = string | number | boolean | readonly (readonly [name: string, value: XmlValue])[];

/** A document as an answer. */
export function xmlAnswer(
  status: number,
  root: string,
  value: XmlValue,
  fields: Readonly<Record<string, string>> = {},
): StorageResponse {
  const text = `<?xml version="1.0" encoding="UTF-8"?>\n<${root}${root === "Error" ? "" : ` xmlns="${NAMESPACE}"`}>${written(value)}</${root}>`;
  return answer(status, text, "application/xml", fields);
}

function written(value: XmlValue): string {
  if (typeof value !== "object") return escaped(String(value));
  return value.map(([name, one]) => `<${name}>${written(one)}</${name}>`).join("");
}

function escaped(text: string): string {
  return text.replace(/[<>&"'\r]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Reads a request's document, which is as it was signed; the content of its root, which has this name. Rejects with a StorageError. */
export async function readXml(
  request: StorageRequest,
  { payload }: VerifiedSignature,
  root: string,
): Promise<unknown> {
  if (payload.kind === "chunks") throw bad("this body may not come in chunks");
  const body = request.body();
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for (let piece = await body?.read(); piece != null; piece = await body?.read()) {
    bytes += piece.byteLength;
    if (bytes > XML_BYTES_MAX) throw bad(`the body has more than ${XML_BYTES_MAX} bytes`);
    pieces.push(piece);
  }
  const whole = joinBytes(pieces);
  if (payload.kind === "hash" && createHash("sha256").update(whole).digest("hex") !== payload.hash)
    throw new StorageError("checksum_mismatch", "the body is not the one that was signed");
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(whole);
  } catch {
    throw bad("the body is not UTF-8");
  }
  return parseXml(text, root);
}

/** The content of the root, which has this name. Throws a StorageError. */
export function parseXml(text: string, root: string): unknown {
  if (/<!(?!--)/.test(text)) throw bad("the body has a document type or a CDATA section");
  let count = 0;
  for (let at = text.indexOf("<"); at >= 0; at = text.indexOf("<", at + 1))
    if (++count > 2 * ELEMENTS_MAX) throw bad(`the body has more than ${ELEMENTS_MAX} elements`);
  let parsed: unknown;
  try {
    parsed = Bun.XML.parse(text);
  } catch {
    throw bad("the body is not well-formed XML");
  }
  const [entry] = typeof parsed === "object" && parsed !== null ? Object.entries(parsed) : [];
  if (entry?.[0] !== root) throw bad(`the body is not a <${root}>`);
  return entry[1];
}

/** Child elements of a name. */
export function children(content: unknown, name: string): readonly unknown[] {
  if (typeof content !== "object" || content === null || !Object.hasOwn(content, name)) return [];
  const found: unknown = Reflect.get(content, name);
  return Array.isArray(found) ? found : [found];
}

/** The text of the only child of a name; null when there is none. */
export function childText(content: unknown, name: string): string | null {
  const [only, ...others] = children(content, name);
  if (others.length > 0) return null;
  if (typeof only === "string") return only;
  const [text] = children(only, "#text");
  return typeof text === "string" ? text : only === undefined ? null : "";
}

function bad(message: string): StorageError {
  return new StorageError("bad_request", message);
}
