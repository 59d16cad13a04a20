/**
 * A document that lists URLs, from a file, standard input or an answer: what it is shows in its bytes,
 * not in its name. It may be packed with gzip; what begins with `<` is a sitemap, all else has one URL
 * a line, with `#` before comments.
 */
import type { Readable } from "node:stream";
import { messageOf, ProximaError } from "../../base/errors.ts";
import { unpacked } from "../simulate-input.ts";
import { parseSitemap, SITEMAP_CHARS_MAX, type Sitemap, SitemapError } from "./sitemap.ts";

/** Most characters of a list, unpacked. */
const LIST_CHARS_MAX = 1_073_741_824;
/** Longest line of a list. */
const LINE_CHARS_MAX = 65_536;

/** What a document lists. Lines come as they are read; each with its number, from 1. */
export type ListDocument =
  | { readonly kind: "sitemap"; readonly sitemap: Sitemap }
  | {
      readonly kind: "lines";
      readonly lines: AsyncGenerator<{ readonly text: string; readonly number: number }>;
    };

/** A document that can not be read; the message continues a sentence that begins with its name. */
export class DocumentError extends ProximaError<"document_invalid"> {
  constructor(message: string, cause?: unknown) {
    super("document_invalid", message, { source: "node", cause });
    this.name = "DocumentError";
  }
}

/** Reads a document's beginning, and a sitemap whole. Rejects with a DocumentError or a SitemapError, or with what `source` rejects with. */
export async function openDocument(source: Readable): Promise<ListDocument> {
  const texts = decoded(source);
  let start = "";
  for (;;) {
    const { done, value } = await texts.next();
    if (done === true) break;
    start += value;
    if (start.trimStart() !== "") break;
    // White space says nothing yet; a document of nothing else is not kept.
    if (start.length > LINE_CHARS_MAX) start = "";
  }
  if (!start.trimStart().startsWith("<")) return { kind: "lines", lines: linesOf(start, texts) };
  const parts = [start];
  let length = start.length;
  for await (const text of texts) {
    length += text.length;
    if (length > SITEMAP_CHARS_MAX) throw new SitemapError(`is longer than ${SITEMAP_CHARS_MAX} characters`);
    parts.push(text);
  }
  return { kind: "sitemap", sitemap: parseSitemap(parts.join("").trimStart()) };
}

async function* decoded(source: Readable): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    for await (const piece of unpacked(source, () => {})) yield decode(decoder, piece);
    yield decode(decoder, null);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (!code.startsWith("Z_")) throw error;
    throw new DocumentError(`begins as gzip does, but can not be unpacked: ${messageOf(error)}`, error);
  }
}

function decode(decoder: TextDecoder, piece: Uint8Array | null): string {
  try {
    return piece === null ? decoder.decode() : decoder.decode(piece, { stream: true });
  } catch (error) {
    throw new DocumentError("is not text in UTF-8", error);
  }
}

async function* linesOf(
  start: string,
  texts: AsyncGenerator<string>,
): AsyncGenerator<{ readonly text: string; readonly number: number }> {
  let number = 0;
  let length = 0;
  let rest = "";
  const take = (text: string): { text: string; number: number }[] => {
    length += text.length;
    if (length > LIST_CHARS_MAX) throw new DocumentError(`is longer than ${LIST_CHARS_MAX} characters`);
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > LINE_CHARS_MAX) {
      throw new DocumentError(
        `line ${number + lines.length + 1} is longer than ${LINE_CHARS_MAX} characters`,
      );
    }
    return lines.map((line) => ({ text: line, number: ++number }));
  };
  yield* take(start);
  for await (const text of texts) yield* take(text);
  if (rest !== "") yield { text: rest, number: number + 1 };
}
