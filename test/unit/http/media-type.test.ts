import { expect, test } from "bun:test";
import { extensionType, isCompressible } from "../../../src/http/media-type.ts";

test("compresses text, data and uncompressed fonts and images", () => {
  for (const type of [
    "text/html",
    "TEXT/HTML; charset=utf-8",
    "application/json",
    "application/ld+json",
    "image/svg+xml",
    "application/javascript",
    "text/javascript",
    "application/wasm",
    "font/ttf",
    "font/otf",
    "application/xml ;x=y",
    "application/problem+json",
  ]) {
    expect([type, isCompressible(type)]).toEqual([type, true]);
  }
});

test("leaves alone what is compressed already, streams of events, and what it does not know", () => {
  for (const type of [
    null,
    "",
    "text",
    "image/png",
    "image/jpeg",
    "video/mp4",
    "font/woff2",
    "font/woff",
    "application/zip",
    "application/gzip",
    "application/octet-stream",
    "text/event-stream",
    "application/pdf",
    "x text/html",
    "text/",
  ]) {
    expect([type, isCompressible(type)]).toEqual([type, false]);
  }
});

test("knows the types of a site's files by extension", () => {
  const vectors: [string, string | null][] = [
    ["/index.html", "text/html; charset=utf-8"],
    ["/a.b/App.JS", "text/javascript; charset=utf-8"],
    ["/x.css", "text/css; charset=utf-8"],
    ["/d.json", "application/json"],
    ["/i.svg", "image/svg+xml"],
    ["/f.woff2", "font/woff2"],
    ["x.tar.gz", "application/gzip"],
    ["/noext", null],
    ["/a.html/b", null],
    ["/dot.", null],
    ["/x.__proto__", null],
    ["/x.constructor", null],
    ["", null],
  ];
  for (const [path, type] of vectors) expect([path, extensionType(path)]).toEqual([path, type]);
});
