/**
 * From what was named on the command line to the URLs to warm, each once. What is on this machine is
 * read first and has to be right, so that a typing error ends the command before anything is asked
 * for; sitemaps at URLs come after, and what is wrong with them is reported with the rest.
 */
import { createReadStream } from "node:fs";
import { addAbortSignal, Readable } from "node:stream";
import { messageOf } from "../../base/errors.ts";
import { UsageError } from "../failure.ts";
import { plainText } from "../io.ts";
import { DocumentError, type ListDocument, openDocument } from "./document.ts";
import { type EdgeAnswer, EdgeError } from "./edge-client.ts";
import { type Sitemap, SitemapError } from "./sitemap.ts";

/** Longest URL: the edge takes no longer request line. */
const URL_CHARS_MAX = 8_192;
/** How far indexes of sitemaps may be nested. */
export const SITEMAP_DEPTH_MAX = 4;
/** Sitemaps that are fetched. */
export const SITEMAPS_MAX = 50_000;
const REDIRECTS_MAX = 5;
const CHUNK_BYTES = 262_144;
const SHOWN_CHARS_MAX = 100;

/** What reading needs and whom it tells. */
export interface SourceContext {
  /** Most URLs; the rest is left out. */
  readonly urlsMax: number;
  readonly signal: AbortSignal;
  /** Asks the edge, at the pace of all requests. Rejects with an EdgeError. */
  fetch(url: URL): Promise<EdgeAnswer>;
  /** A sitemap, or an address in one, that is no good. */
  failed(url: string, problem: string): void;
  /** Called when a document was read. */
  progress(collection: Collection): void;
}

/** What was found. */
export interface Collection {
  /** Normalised URLs in order. */
  readonly urls: Set<string>;
  /** URLs that were named more than once, counting the repetitions. */
  repeated: number;
  /** Sitemaps at URLs that were fetched. */
  sitemaps: number;
  /** The limit of URLs, or of sitemaps, was reached. */
  leftOut: boolean;
}

interface Pending {
  readonly url: URL;
  readonly depth: number;
}

/** Reads all sources into `into`. Rejects with a UsageError for one on this machine that is wrong. */
export async function readSources(
  sources: readonly string[],
  sitemaps: readonly string[],
  context: SourceContext,
  into: Collection,
): Promise<void> {
  const pending: Pending[] = [];
  for (const source of [...sources, ...sitemaps]) {
    if (context.signal.aborted) return;
    if (!/^https?:/i.test(source)) {
      await readLocal(source, context, into, pending);
      continue;
    }
    const url = readUrl(source);
    if (typeof url === "string") throw new UsageError(`${shown(source)} ${url}`);
    if (sitemaps.includes(source) || isSitemapName(url)) pending.push({ url, depth: 1 });
    else add(into, url, context);
  }
  await readSitemaps(pending, context, into);
}

/** A URL as it is asked for; a sentence's end when it can not be. */
export function readUrl(text: string): URL | string {
  if (text.length > URL_CHARS_MAX) return `is longer than ${URL_CHARS_MAX} characters`;
  const url = /^https?:\/\//i.test(text) ? URL.parse(text) : null;
  if (url === null) return "is not an absolute URL; write http(s)://host/path";
  if (url.username !== "" || url.password !== "")
    return "has a user name or a password, which a URL of a site has not";
  url.hash = "";
  return url;
}

/** Is an address that of a sitemap, by its name? */
export function isSitemapName(url: URL): boolean {
  return /sitemap[^/]*\.xml(?:\.gz)?$/i.test(url.pathname);
}

/** False when the limit is reached. */
function add(into: Collection, url: URL, context: SourceContext): boolean {
  if (into.urls.has(url.href)) into.repeated++;
  else if (into.urls.size >= context.urlsMax) {
    into.leftOut = true;
    return false;
  } else into.urls.add(url.href);
  return true;
}

async function readLocal(
  source: string,
  context: SourceContext,
  into: Collection,
  pending: Pending[],
): Promise<void> {
  const name = source === "-" ? "standard input" : shown(source);
  const bytes: Readable =
    source === "-" ? process.stdin : createReadStream(source, { highWaterMark: CHUNK_BYTES });
  addAbortSignal(context.signal, bytes);
  try {
    const document = await openDocument(bytes);
    await take(
      document,
      context,
      into,
      (where, text, problem) => {
        throw new UsageError(
          where === null ? `${name}: ${problem}` : `${name}, ${where}: ${shown(text)} ${problem}`,
        );
      },
      (url) => pending.push({ url, depth: 2 }),
    );
    context.progress(into);
  } catch (error) {
    if (context.signal.aborted) return;
    if (error instanceof UsageError) throw error;
    throw new UsageError(fileSentence(source, name, error), error);
  } finally {
    bytes.destroy();
  }
}

function fileSentence(source: string, name: string, error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (error instanceof DocumentError || error instanceof SitemapError) return `${name} ${error.message}`;
  if (code === "ENOENT") {
    const meant = /^[\w-]+(?:\.[\w-]+)+(?:[:/]|$)/.test(source)
      ? "; a URL begins with http:// or https://"
      : "";
    return `there is no file ${name}${meant}`;
  }
  if (code === "EISDIR") return `${name} is a directory; a file of URLs or a sitemap was expected`;
  if (code === "EACCES" || code === "EPERM") return `${name} may not be read by this user`;
  return `${name} can not be read: ${messageOf(error)}`;
}

/** Takes over what a document lists: URLs into the collection, sitemaps of an index to `nested`. */
async function take(
  document: ListDocument,
  context: SourceContext,
  into: Collection,
  wrong: (where: string | null, text: string, problem: string) => void,
  nested: (url: URL) => void,
): Promise<void> {
  if (document.kind === "lines") {
    for await (const { text, number } of document.lines) {
      const line = text.trim();
      if (line === "" || line.startsWith("#")) continue;
      const url = readUrl(line);
      if (typeof url === "string") wrong(`line ${number}`, line, url);
      else if (!add(into, url, context)) return;
    }
    return;
  }
  takeSitemap(document.sitemap, context, into, wrong, nested);
}

function takeSitemap(
  { kind, locations, empty }: Sitemap,
  context: SourceContext,
  into: Collection,
  wrong: (where: string | null, text: string, problem: string) => void,
  nested: (url: URL) => void,
): void {
  const element = kind === "urls" ? "url" : "sitemap";
  for (const [i, location] of locations.entries()) {
    const url = readUrl(location);
    if (typeof url === "string") wrong(`<${element}> ${i + 1}`, location, url);
    else if (kind === "index") nested(url);
    else if (!add(into, url, context)) return;
  }
  if (empty > 0) wrong(null, "", `${empty} of its <${element}> elements name no <loc>`);
}

/** Fetches the sitemaps that wait, and those that they name, breadth first and each once. */
async function readSitemaps(
  first: readonly Pending[],
  context: SourceContext,
  into: Collection,
): Promise<void> {
  const queue: Pending[] = [];
  const seen = new Set<string>();
  const enqueue = (pending: Pending): void => {
    if (seen.has(pending.url.href)) return;
    if (seen.size >= SITEMAPS_MAX) {
      into.leftOut = true;
      return;
    }
    seen.add(pending.url.href);
    queue.push(pending);
  };
  for (const pending of first) enqueue(pending);
  // The queue grows while it is walked.
  for (const { url, depth } of queue) {
    if (context.signal.aborted) return;
    if (into.urls.size >= context.urlsMax) {
      into.leftOut = true;
      return;
    }
    if (depth > SITEMAP_DEPTH_MAX) {
      context.failed(url.href, `sitemap: indexes are nested more than ${SITEMAP_DEPTH_MAX} deep`);
      continue;
    }
    try {
      const document = await fetchDocument(url, context);
      into.sitemaps++;
      await take(
        document,
        context,
        into,
        (where, text, problem) =>
          context.failed(
            where === null ? url.href : text,
            `${where === null ? "sitemap" : "in a sitemap"}: ${problem}`,
          ),
        (nested) => enqueue({ url: nested, depth: depth + 1 }),
      );
      context.progress(into);
    } catch (error) {
      if (context.signal.aborted) return;
      context.failed(url.href, `sitemap: ${messageOf(error)}`);
    }
  }
}

/** A document through the edge, with redirects: whatever they name is asked of the edge again. */
async function fetchDocument(asked: URL, context: SourceContext): Promise<ListDocument> {
  let url = asked;
  for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects++) {
    const answer = await context.fetch(url);
    const location = answer.status >= 300 && answer.status < 400 ? answer.fields.get("location") : null;
    const coding = answer.fields.get("content-encoding")?.toLowerCase() ?? "identity";
    if (answer.status === 200 && (coding === "identity" || coding === "gzip")) {
      return await openDocument(Readable.from(answer.body));
    }
    await answer.body.return(undefined);
    if (answer.status === 200)
      throw new DocumentError(`has the coding ${shown(coding)}; identity or gzip was expected`);
    if (location === null) throw new EdgeError("failed", `was answered with ${answer.status}`);
    const next = readUrl(URL.parse(location, url.href)?.href ?? location);
    if (typeof next === "string") throw new DocumentError(`redirects to ${shown(location)}, which ${next}`);
    url = next;
  }
  throw new DocumentError(`redirects more than ${REDIRECTS_MAX} times`);
}

function shown(text: string): string {
  const plain = plainText(text);
  return JSON.stringify(plain.length > SHOWN_CHARS_MAX ? `${plain.slice(0, SHOWN_CHARS_MAX)}...` : plain);
}
