/** What is wrong with one answer. Pure. */
import { extensionType, isCompressible } from "../../http/media-type.ts";
import { parseVary } from "../../http/vary.ts";
import { hashInName } from "../../origin-kit/hashed-name.js";
import { type Caching, cachingOf } from "./caching.ts";
import type { AuditAnswer } from "./client.ts";
import type { Finding, FindingId } from "./finding.ts";
import { personalSigns } from "./personal.ts";

const HOUR_SECONDS = 3_600;
const DAY_SECONDS = 86_400;
const WEEK_SECONDS = 7 * DAY_SECONDS;
/** Smaller texts gain nothing: they fit in one packet. */
const COMPRESS_BYTES_MIN = 1_400;

/** Fields by which viewers hardly ever agree. */
const UNBOUNDED_VARY: ReadonlySet<string> = new Set([
  "cookie",
  "user-agent",
  "referer",
  "authorization",
  "x-forwarded-for",
  "x-real-ip",
  "x-request-id",
  "sec-ch-ua-full-version-list",
]);

/** True for what pages are built from: styles, scripts, fonts, images. */
export function isAsset(url: URL, contentType: string | null): boolean {
  const type = contentType?.split(";", 1)[0]?.trim().toLowerCase() || (extensionType(url.pathname) ?? "");
  return /^(?:text\/css|(?:text|application)\/(?:x-)?javascript|font\/|image\/|application\/(?:font-|wasm|vnd\.ms-fontobject)|video\/|audio\/)/.test(
    type,
  );
}

/** The findings of one answer. */
export function checkAnswer(url: URL, answer: AuditAnswer): Finding[] {
  const found: Finding[] = [];
  const add = (id: FindingId, detail: string): void => {
    found.push({ id, url: url.href, detail });
  };
  const caching = cachingOf(answer.fields);
  const said = answer.fields.get("cache-control");
  const cacheControl = said === null ? "no Cache-Control" : `Cache-Control: ${said.slice(0, 200)}`;
  if (answer.status >= 400) {
    if (answer.status !== 410 && caching.isShared && (caching.sharedSeconds ?? 0) >= HOUR_SECONDS)
      add("error-kept", `${answer.status}, ${cacheControl}`);
    return found;
  }
  if (answer.status >= 300) return found;
  checkLeaks(url, answer, caching, cacheControl, add);
  checkContradiction(caching, cacheControl, add);
  checkVary(answer, caching, add);
  if (isAsset(url, answer.fields.get("content-type"))) checkAsset(url, answer, caching, cacheControl, add);
  else if (caching.isSilent && isPage(answer)) add("page-silent", cacheControl);
  if (caching.isShared && answer.bytes > 0 && !hasValidator(answer.fields))
    add("no-validator", `${answer.bytes} bytes, ${cacheControl}`);
  const isCoded = answer.fields.get("content-encoding") !== null;
  if (!isCoded && answer.bytes >= COMPRESS_BYTES_MIN && isCompressible(answer.fields.get("content-type")))
    add("not-compressed", `${answer.bytes} bytes`);
  return found;
}

/** True when an answer can be validated. */
export function hasValidator(fields: Headers): boolean {
  return fields.get("etag") !== null || fields.get("last-modified") !== null;
}

function isPage(answer: AuditAnswer): boolean {
  return /^text\/html/i.test(answer.fields.get("content-type") ?? "");
}

type Add = (id: FindingId, detail: string) => void;

function checkLeaks(url: URL, answer: AuditAnswer, caching: Caching, cacheControl: string, add: Add): void {
  if (!caching.isShared) return;
  const cookies = answer.fields.getSetCookie().map(cookieName);
  if (cookies.length > 0) add("public-set-cookie", `${cookies.join(", ")}; ${cacheControl}`);
  for (const { id, detail } of personalSigns(url, answer)) add(id, `${detail}; ${cacheControl}`);
}

function checkContradiction({ control }: Caching, cacheControl: string, add: Add): void {
  const forbids = control.private || control.noStore;
  const allows = control.public || (control.sMaxage ?? 0) > 0 || control.immutable;
  if (forbids && allows) add("contradiction", cacheControl);
}

function checkVary(answer: AuditAnswer, caching: Caching, add: Add): void {
  // What is not kept is not told apart either.
  if (!caching.isShared) return;
  const vary = parseVary(answer.fields.get("vary"));
  if (vary === "*") {
    add("vary-star", "Vary: *");
    return;
  }
  const unbounded = vary.filter((name) => UNBOUNDED_VARY.has(name));
  if (unbounded.length > 0) add("vary-unbounded", `Vary: ${unbounded.join(", ")}`);
  const coding = answer.fields.get("content-encoding");
  if (coding !== null && !vary.includes("accept-encoding"))
    add("coding-without-vary", `Content-Encoding: ${coding.slice(0, 40)}`);
}

function checkAsset(url: URL, answer: AuditAnswer, caching: Caching, cacheControl: string, add: Add): void {
  const cookies = answer.fields.getSetCookie().map(cookieName);
  if (cookies.length > 0 && !caching.isShared) add("asset-sets-cookie", cookies.join(", "));
  const hash = hashInName(url.pathname);
  if (caching.isSilent) {
    add("asset-silent", cacheControl);
    return;
  }
  if (!caching.isShared) {
    add("asset-not-kept", cacheControl);
    return;
  }
  const { browserSeconds } = caching;
  const isLong = (browserSeconds ?? 0) >= WEEK_SECONDS || caching.control.immutable;
  if (isLong && hash === null && !hasVersion(url)) add("long-without-hash", cacheControl);
  if (hash === "certain" && (browserSeconds ?? 0) < DAY_SECONDS) add("short-with-hash", cacheControl);
}

/** True for a query such as "?v=4f3a9c1b": not as good as a name, but it changes with the content. */
function hasVersion(url: URL): boolean {
  for (const [name, value] of url.searchParams) {
    if (/^(?:v|ver|version|rev|h|hash|t|ts)$/i.test(name) && value !== "") return true;
    if (value === "" && hashInName(name) !== null) return true;
  }
  return false;
}

function cookieName(line: string): string {
  return (
    line
      .slice(0, Math.max(0, line.indexOf("=")))
      .trim()
      .slice(0, 60) || "a cookie without a name"
  );
}
