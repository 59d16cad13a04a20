/** Media types (RFC 9110 section 8.3): which are worth compressing, and which a file's extension stands for. */
import { memoize } from "./memo.ts";

/** Text and other uncompressed formats beside text/*, +json, +xml, +yaml and +text. */
const COMPRESSIBLE: ReadonlySet<string> = new Set([
  "application/ecmascript",
  "application/font-sfnt",
  "application/graphql",
  "application/javascript",
  "application/json",
  "application/json-seq",
  "application/jsonml",
  "application/rtf",
  "application/sql",
  "application/toml",
  "application/vnd.ms-fontobject",
  "application/wasm",
  "application/x-font-opentype",
  "application/x-font-otf",
  "application/x-font-ttf",
  "application/x-javascript",
  "application/x-ndjson",
  "application/x-sh",
  "application/x-www-form-urlencoded",
  "application/x-yaml",
  "application/xml",
  "application/xml-dtd",
  "application/yaml",
  "font/otf",
  "font/sfnt",
  "font/ttf",
  "image/bmp",
  "image/vnd.microsoft.icon",
  "image/x-icon",
  "model/gltf-binary",
]);

/** Whether a body of this Content-Type gains from compression; false when absent. */
export function isCompressible(contentType: string | null): boolean {
  return contentType !== null && compressible(contentType);
}

const compressible = memoize((contentType: string): boolean => {
  const semicolon = contentType.indexOf(";");
  const type = (semicolon < 0 ? contentType : contentType.slice(0, semicolon)).trim().toLowerCase();
  // Events must reach the viewer one by one; a compressor would hold them back.
  if (type === "text/event-stream") return false;
  if (!/^[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+$/.test(type)) return false;
  return type.startsWith("text/") || COMPRESSIBLE.has(type) || /\+(?:json|xml|yaml|text)$/.test(type);
});

const TYPES: ReadonlyMap<string, string> = new Map([
  ["aac", "audio/aac"],
  ["apng", "image/apng"],
  ["avif", "image/avif"],
  ["bmp", "image/bmp"],
  ["br", "application/octet-stream"],
  ["cjs", "text/javascript; charset=utf-8"],
  ["css", "text/css; charset=utf-8"],
  ["csv", "text/csv; charset=utf-8"],
  ["eot", "application/vnd.ms-fontobject"],
  ["flac", "audio/flac"],
  ["gif", "image/gif"],
  ["gz", "application/gzip"],
  ["htm", "text/html; charset=utf-8"],
  ["html", "text/html; charset=utf-8"],
  ["ico", "image/vnd.microsoft.icon"],
  ["ics", "text/calendar; charset=utf-8"],
  ["jpeg", "image/jpeg"],
  ["jpg", "image/jpeg"],
  ["js", "text/javascript; charset=utf-8"],
  ["json", "application/json"],
  ["jsonld", "application/ld+json"],
  ["jxl", "image/jxl"],
  ["m3u8", "application/vnd.apple.mpegurl"],
  ["m4a", "audio/mp4"],
  ["m4s", "video/iso.segment"],
  ["m4v", "video/mp4"],
  ["map", "application/json"],
  ["md", "text/markdown; charset=utf-8"],
  ["mjs", "text/javascript; charset=utf-8"],
  ["mov", "video/quicktime"],
  ["mp3", "audio/mpeg"],
  ["mp4", "video/mp4"],
  ["mpd", "application/dash+xml"],
  ["oga", "audio/ogg"],
  ["ogg", "audio/ogg"],
  ["ogv", "video/ogg"],
  ["opus", "audio/ogg"],
  ["otf", "font/otf"],
  ["pdf", "application/pdf"],
  ["png", "image/png"],
  ["rss", "application/rss+xml"],
  ["atom", "application/atom+xml"],
  ["svg", "image/svg+xml"],
  ["tar", "application/x-tar"],
  ["tif", "image/tiff"],
  ["tiff", "image/tiff"],
  ["toml", "application/toml"],
  ["ts", "video/mp2t"],
  ["ttf", "font/ttf"],
  ["txt", "text/plain; charset=utf-8"],
  ["vtt", "text/vtt; charset=utf-8"],
  ["wasm", "application/wasm"],
  ["wav", "audio/wav"],
  ["weba", "audio/webm"],
  ["webm", "video/webm"],
  ["webmanifest", "application/manifest+json"],
  ["webp", "image/webp"],
  ["woff", "font/woff"],
  ["woff2", "font/woff2"],
  ["xhtml", "application/xhtml+xml"],
  ["xml", "application/xml"],
  ["yaml", "application/yaml"],
  ["yml", "application/yaml"],
  ["zip", "application/zip"],
  ["zst", "application/zstd"],
]);

/** Content-Type for the extension of a path (without query); null when it has none that is known. */
export function extensionType(path: string): string | null {
  const dot = path.lastIndexOf(".");
  if (dot < 0) return null;
  return TYPES.get(path.slice(dot + 1).toLowerCase()) ?? null;
}
