/** The parts of `proxima warm` that need no edge: pace, progress, names of sitemaps, documents. */
import { describe, expect, test } from "bun:test";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { openDocument } from "../../../src/cli/warm/document.ts";
import { Pacer } from "../../../src/cli/warm/pacer.ts";
import { formatProgress, progressLine } from "../../../src/cli/warm/progress.ts";
import { isSitemapName, readUrl } from "../../../src/cli/warm/sources.ts";

describe("the pace", () => {
  test("is one start an interval, whoever asks, and the first at once", () => {
    const pacer = new Pacer(20);
    expect([0, 0, 0].map((nowMs) => pacer.book(nowMs))).toEqual([0, 50, 100]);
    expect(pacer.book(120)).toBe(30);
  });

  test("does not suffer from timers that are a little late, nor catch up after a pause", () => {
    const pacer = new Pacer(20);
    pacer.book(0);
    pacer.book(55);
    // Five milliseconds late: the one after it is on time again.
    expect(pacer.book(55)).toBe(45);
    expect([10_000, 10_000, 10_000].map((nowMs) => pacer.book(nowMs))).toEqual([0, 40, 90]);
  });
});

describe("progress", () => {
  const at = { done: 50, total: 200, failed: 0, elapsedMs: 10_000 };

  test("is a bar with facts, and never wider than the terminal", () => {
    expect(formatProgress(at, 100, false)).toBe(
      "[######------------------] 25 %, 50 of 200, 5 a second, 30 s left",
    );
    expect(formatProgress({ ...at, failed: 3 }, 100, false)).toContain("3 failed");
    expect(formatProgress({ ...at, total: 1_000_000 }, 100, false)).toContain("55 h 34 min left");
    for (let columns = 1; columns < 100; columns++) {
      expect(formatProgress({ ...at, failed: 1 }, columns, false).length).toBeLessThan(Math.max(columns, 1));
    }
  });

  test("has escape sequences of emphasis only where colors are wanted", () => {
    expect(formatProgress(at, 100, true)).toContain("\u001b[2m");
    expect(formatProgress(at, 100, false)).not.toContain("\u001b");
  });

  test("is shown on a terminal, not too often, and goes when it is over; elsewhere there is nothing", () => {
    const shown = (terminal: { isTTY?: boolean }, env: Record<string, string> = {}) => {
      const parts: string[] = [];
      const io = {
        out() {},
        err: (more: string) => void parts.push(more),
        color: false,
        env,
        flush: async () => {},
      };
      const line = progressLine(io, { columns: 40, ...terminal });
      for (let i = 0; i < 1_000; i++) line.show((columns) => `at ${i} of ${columns}`);
      line.clear();
      line.clear();
      return parts.join("");
    };
    const lines = shown({ isTTY: true }).split("\r\u001b[K");
    expect([lines[0], lines[1], lines.at(-1)]).toEqual(["", "at 0 of 40", ""]);
    expect(lines.length).toBeLessThan(10);
    expect(shown({})).toBe("");
    expect(shown({ isTTY: true }, { TERM: "dumb" })).toBe("");
  });
});

test("the name of a URL says whether it is a sitemap", () => {
  const is = (path: string) => isSitemapName(new URL(`https://a.example${path}`));
  expect(
    [
      "/sitemap.xml",
      "/sitemap_index.xml",
      "/post-sitemap2.xml?x=1",
      "/s/Sitemap-1.XML.GZ",
      "/wp-sitemap.xml",
    ].map(is),
  ).toEqual([true, true, true, true, true]);
  expect(
    ["/", "/feed.xml", "/sitemap", "/sitemap/page.xml", "/sitemap.html", "/a?b=sitemap.xml"].map(is),
  ).toEqual([false, false, false, false, false, false]);
});

test("a URL is absolute, of http or https, without a user; its fragment does not count", () => {
  const read = (text: string) => {
    const url = readUrl(text);
    return typeof url === "string" ? url : url.href;
  };
  expect(read("HTTPS://Shop.Example:443/a/../b?x=ä#top")).toBe("https://shop.example/b?x=%C3%A4");
  for (const wrong of [
    "/a",
    "shop.example/a",
    "ftp://shop.example/",
    "https:/a",
    "http://",
    "http://[::1",
    "javascript:1",
  ]) {
    expect([wrong, read(wrong)]).toEqual([wrong, "is not an absolute URL; write http(s)://host/path"]);
  }
  expect(read("http://me:secret@shop.example/")).toMatch(/user name or a password/);
  expect(read(`http://shop.example/${"a".repeat(9_000)}`)).toBe("is longer than 8192 characters");
});

describe("a document", () => {
  const read = async (...pieces: (string | Uint8Array)[]) => {
    const document = await openDocument(Readable.from(pieces.map((piece) => Buffer.from(piece))));
    if (document.kind === "sitemap") return document.sitemap.locations;
    const lines: string[] = [];
    for await (const { text, number } of document.lines) lines.push(`${number}:${text}`);
    return lines;
  };
  const sitemap = "<urlset><url><loc>http://a.example/ä</loc></url></urlset>";

  test("is what its bytes say, packed or not, in pieces or whole, with or without a byte order mark", async () => {
    const bytes = Buffer.from(`\ufeff  \n${sitemap}`);
    for (const packed of [
      bytes,
      gzipSync(bytes),
      Buffer.concat([gzipSync(bytes.subarray(0, 20)), gzipSync(bytes.subarray(20))]),
    ]) {
      expect(await read(packed)).toEqual(["http://a.example/ä"]);
      expect(await read(...[...packed].map((byte) => Uint8Array.of(byte)))).toEqual(["http://a.example/ä"]);
    }
    expect(await read("a\nb", "c\r\n\n", "d")).toEqual(["1:a", "2:bc\r", "3:", "4:d"]);
    expect(await read(gzipSync("a\nb"))).toEqual(["1:a", "2:b"]);
    expect(await read("")).toEqual([]);
    expect(await read(" \n \n")).toEqual(["1: ", "2: "]);
  });

  test("that can not be read says why", async () => {
    await expect(read(Uint8Array.of(0x61, 0xff, 0x0a))).rejects.toThrow("is not text in UTF-8");
    await expect(read(Buffer.from("<urlset/>", "utf16le"))).rejects.toThrow("is not well-formed XML");
    await expect(read(gzipSync("a\nb").subarray(0, 15))).rejects.toThrow(
      /^begins as gzip does, but can not be unpacked/,
    );
    await expect(read("a\n", "b".repeat(70_000))).rejects.toThrow("line 2 is longer than 65536 characters");
    await expect(read("<urlset>".padEnd(60_000_000))).rejects.toThrow("is longer than 52428800 characters");
    // A small file that unpacks to more than a sitemap may have is not unpacked to its end.
    await expect(read(gzipSync("<urlset>".padEnd(200_000_000)))).rejects.toThrow(
      "is longer than 52428800 characters",
    );
  });
});
