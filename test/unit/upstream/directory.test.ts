import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, realpathSync, rmSync } from "node:fs";
import { mkdir, rename, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../../src/base/clock.ts";
import { Fields } from "../../../src/http/fields.ts";
import { DirectoryOrigin } from "../../../src/upstream/directory.ts";
import { PIECE_BYTES } from "../../../src/upstream/file-body.ts";
import { UpstreamError, type UpstreamResponse } from "../../../src/upstream/next-hop.ts";

const timeouts = { connectMs: 1000, firstByteMs: 5000, betweenBytesMs: 5000 };
const modified = new Date("2025-06-01T10:00:00.250Z");

let folder = "";
let root = "";
let clock: ManualClock;
let origin: DirectoryOrigin;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "directory-"));
  root = join(folder, "public");
  clock = new ManualClock();
  origin = new DirectoryOrigin({ name: "docs", root, index: "index.html", clock });
  await put("index.html", "<p>home</p>");
  await put("guide/index.html", "<p>guide</p>");
  await put("assets/app.3f9a8c1d.js", "js");
  await put("photo.jpg", "0123456789");
  await put(".env", "SECRET=1");
  await put(".git/config", "secret");
  await put(".well-known/security.txt", "Contact: x");
  await writeFile(join(folder, "outside.txt"), "outside");
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function put(path: string, content: string | Uint8Array): Promise<void> {
  const full = join(root, path);
  await mkdir(join(full, ".."), { recursive: true });
  await writeFile(full, content);
  await utimes(full, modified, modified);
}

function ask(
  target: string,
  options: {
    method?: string;
    fields?: Record<string, string>;
    signal?: AbortSignal;
    from?: DirectoryOrigin;
  } = {},
): Promise<UpstreamResponse> {
  const request = {
    method: options.method ?? "GET",
    scheme: "http" as const,
    authority: "docs.example",
    target,
    fields: Fields.from(Object.entries(options.fields ?? {})),
    body: null,
    bodyLength: null,
    signal: options.signal ?? null,
  };
  return (options.from ?? origin).fetch(request, timeouts);
}

async function text(response: UpstreamResponse): Promise<string> {
  const pieces: Uint8Array[] = [];
  for (;;) {
    const piece = (await response.body?.read()) ?? null;
    if (piece === null) return Buffer.concat(pieces).toString();
    pieces.push(piece);
  }
}

async function statusOf(target: string): Promise<number> {
  const response = await ask(target);
  response.body?.cancel();
  return response.status;
}

/** The code of the UpstreamError that `work` rejects with. */
async function failure(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof UpstreamError) return error.code;
    throw error;
  }
  return "none";
}

/** Descriptors of this process that lead below the test's folder. */
function descriptors(): string[] {
  const held: string[] = [];
  for (const name of existsSync("/proc/self/fd") ? readdirSync("/proc/self/fd") : []) {
    try {
      const path = realpathSync(`/proc/self/fd/${name}`);
      if (path.startsWith(realpathSync(folder))) held.push(path);
    } catch {
      // Closed since the listing, or no file.
    }
  }
  return held;
}

/** Waits until work that nobody waits for any more has ended: later work of the same kind has. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await text(await ask("/photo.jpg"));
}

async function noDescriptors(): Promise<void> {
  // Closing is a call to the thread pool that nothing waits for.
  const endMs = performance.now() + 2000;
  while (performance.now() < endMs && (origin.openFiles > 0 || descriptors().length > 0)) await Bun.sleep(1);
  expect(origin.openFiles).toBe(0);
  expect(descriptors()).toEqual([]);
}

describe("a directory answers", () => {
  test("a file with type, length, validators and Accept-Ranges", async () => {
    const response = await ask("/photo.jpg?v=1");
    expect(response.status).toBe(200);
    expect(response.framing).toBe("length");
    expect(response.bodyLength).toBe(10);
    expect(response.fields.get("content-type")).toBe("image/jpeg");
    expect(response.fields.get("content-length")).toBe("10");
    expect(response.fields.get("last-modified")).toBe("Sun, 01 Jun 2025 10:00:00 GMT");
    expect(response.fields.get("accept-ranges")).toBe("bytes");
    expect(response.fields.get("etag")).toMatch(/^"[0-9a-z-]+"$/);
    expect(response.fields.get("date")).toBe("Thu, 01 Jan 2026 00:00:00 GMT");
    expect(response.fields.has("cache-control")).toBe(false);
    expect(await text(response)).toBe("0123456789");
    await noDescriptors();
  });

  test("an empty file as a whole body of no bytes", async () => {
    await put("empty.txt", "");
    const response = await ask("/empty.txt");
    expect([response.status, response.bodyLength, await text(response)]).toEqual([200, 0, ""]);
    await noDescriptors();
  });

  test("an unknown extension as octets", async () => {
    await put("data.unknown", "x");
    const response = await ask("/data.unknown");
    expect(response.fields.get("content-type")).toBe("application/octet-stream");
    expect(await text(response)).toBe("x");
  });

  test("a large file in pieces, whole and in order", async () => {
    const bytes = new Uint8Array(PIECE_BYTES * 2 + 17).map((_, i) => (i * 31) % 251);
    await put("large.bin", bytes);
    const response = await ask("/large.bin");
    const pieces: number[] = [];
    const hash = new Bun.CryptoHasher("sha256");
    for (;;) {
      const piece = (await response.body?.read()) ?? null;
      if (piece === null) break;
      pieces.push(piece.byteLength);
      hash.update(piece);
    }
    expect(pieces).toEqual([PIECE_BYTES, PIECE_BYTES, 17]);
    expect(hash.digest("hex")).toBe(new Bun.CryptoHasher("sha256").update(bytes).digest("hex"));
    await noDescriptors();
  });

  test("HEAD with the same fields and no body", async () => {
    const get = await ask("/photo.jpg");
    const head = await ask("/photo.jpg", { method: "HEAD", fields: { range: "bytes=0-1" } });
    expect([head.status, head.body, head.framing, head.bodyLength]).toEqual([200, null, "none", 10]);
    expect([...head.fields.entries()]).toEqual([...get.fields.entries()]);
    get.body?.cancel();
    await noDescriptors();
  });

  test("other methods with 405 and Allow", async () => {
    const response = await ask("/photo.jpg", { method: "POST" });
    expect([response.status, response.fields.get("allow")]).toEqual([405, "GET, HEAD"]);
  });

  test("an encoded name, decoded once", async () => {
    await put("à b%41.txt", "found");
    expect(await text(await ask("/%C3%A0%20b%2541.txt"))).toBe("found");
    expect(await statusOf("/%C3%A0%20bA.txt")).toBe(404);
  });

  test("a folder with its index, and without the slash by a redirect that can not leave the site", async () => {
    expect(await text(await ask("/"))).toBe("<p>home</p>");
    expect(await text(await ask("/guide/"))).toBe("<p>guide</p>");
    await mkdir(join(root, "javascript:alert(1)"));
    const location = async (target: string) => {
      const response = await ask(target);
      expect(response.status).toBe(301);
      return new URL(response.fields.get("location") ?? "", `http://docs.example${target}`).href;
    };
    expect(await location("/guide?a=1&b=%20")).toBe("http://docs.example/guide/?a=1&b=%20");
    expect(await location("/javascript:alert(1)")).toBe("http://docs.example/javascript%3Aalert(1)/");
    expect(await statusOf("//evil.example")).toBe(404);
    expect(await statusOf("//guide")).toBe(404);
  });

  test("a folder without an index, and a file with a slash, with 404", async () => {
    expect(await statusOf("/assets/")).toBe(404);
    expect(await statusOf("/photo.jpg/")).toBe(404);
    expect(await statusOf("/missing")).toBe(404);
    expect(await statusOf(`/${"n".repeat(300)}`)).toBe(404);
  });

  test("pages to be revalidated, hashed assets as immutable, by the name that was asked for", async () => {
    await symlink("assets/app.3f9a8c1d.js", join(root, "latest.js"));
    const control = async (target: string) => {
      const response = await ask(target);
      response.body?.cancel();
      return response.fields.get("cache-control");
    };
    expect(await control("/")).toBe("public, max-age=0, must-revalidate");
    expect(await control("/assets/app.3f9a8c1d.js")).toBe("public, max-age=31536000, immutable");
    expect(await control("/latest.js")).toBeNull();
  });
});

describe("a directory refuses", () => {
  test.each([
    ["dot segments", "/../outside.txt"],
    ["encoded dot segments", "/%2e%2e/outside.txt"],
    ["an encoded separator", "/guide%2findex.html"],
    ["dot segments behind an encoded separator", "/guide/..%2f..%2foutside.txt"],
    ["a backslash", "/guide\\index.html"],
    ["an encoded backslash", "/..%5coutside.txt"],
    ["a NUL", "/photo.jpg%00.html"],
    ["a line feed", "/photo%0a.jpg"],
    ["a hidden file", "/.env"],
    ["an encoded hidden file", "/%2eenv"],
    ["a hidden folder", "/.git/config"],
    ["an empty segment", "/guide//index.html"],
    ["a well-known folder elsewhere", "/guide/.well-known/x"],
  ])("%s", async (_, target) => {
    expect(await statusOf(target)).toBe(404);
  });

  test("malformed encodings and targets with 400", async () => {
    expect(await statusOf("/%zz")).toBe(400);
    expect(await statusOf("/%ff")).toBe(400);
    expect(await statusOf("*")).toBe(400);
    expect(await statusOf("http://docs.example/")).toBe(400);
  });

  test("links out of the root and to hidden files, but follows links within it", async () => {
    await symlink(join(folder, "outside.txt"), join(root, "leak.txt"));
    await symlink(folder, join(root, "up"));
    await symlink(".env", join(root, "env.txt"));
    await symlink("photo.jpg", join(root, "link.jpg"));
    await symlink("loop", join(root, "loop"));
    await mkdir(`${root}-private`);
    await writeFile(`${root}-private/key.txt`, "key");
    await symlink(`${root}-private/key.txt`, join(root, "key.txt"));
    expect(await statusOf("/leak.txt")).toBe(404);
    expect(await statusOf("/up")).toBe(404);
    expect(await statusOf("/up/outside.txt")).toBe(404);
    expect(await statusOf("/env.txt")).toBe(404);
    expect(await statusOf("/key.txt")).toBe(404);
    expect(await statusOf("/loop")).toBe(404);
    expect(await text(await ask("/link.jpg"))).toBe("0123456789");
    expect(await text(await ask("/.well-known/security.txt"))).toBe("Contact: x");
    await noDescriptors();
  });

  test("a named pipe, without waiting for a writer", async () => {
    expect(Bun.spawnSync(["mkfifo", join(root, "pipe")]).exitCode).toBe(0);
    expect(await statusOf("/pipe")).toBe(404);
    await noDescriptors();
  });

  test("a root that the node does not permit, by its real path", async () => {
    const asked: string[] = [];
    const allowRoot = (path: string) => {
      asked.push(path);
      return false;
    };
    await symlink(root, join(folder, "current"));
    const from = new DirectoryOrigin({
      name: "docs",
      root: join(folder, "current"),
      index: "index.html",
      clock,
      allowRoot,
    });
    expect(await failure(ask("/", { from }))).toBe("destination_ip_prohibited");
    expect(asked).toEqual([realpathSync(root)]);
  });

  test("to answer for a root that is not there", async () => {
    const from = new DirectoryOrigin({
      name: "docs",
      root: join(folder, "none"),
      index: "index.html",
      clock,
    });
    expect(await failure(ask("/", { from }))).toBe("connection_refused");
  });
});

describe("conditions and ranges", () => {
  test("an unchanged file is 304 by tag and by date", async () => {
    const first = await ask("/photo.jpg");
    first.body?.cancel();
    const etag = first.fields.get("etag") ?? "";
    const byTag = await ask("/photo.jpg", { fields: { "if-none-match": `"x", ${etag}` } });
    expect([byTag.status, byTag.body, byTag.framing, byTag.fields.get("etag")]).toEqual([
      304,
      null,
      "none",
      etag,
    ]);
    const byDate = await ask("/photo.jpg", {
      fields: { "if-modified-since": "Sun, 01 Jun 2025 10:00:00 GMT" },
    });
    expect(byDate.status).toBe(304);
    const other = await ask("/photo.jpg", { fields: { "if-none-match": '"x"' } });
    expect(await text(other)).toBe("0123456789");
    await noDescriptors();
  });

  test("a file of the same length and date behind the same name has another tag", async () => {
    const tagOf = async () => {
      const response = await ask("/photo.jpg", { method: "HEAD" });
      return response.fields.get("etag");
    };
    const before = await tagOf();
    await put("next.jpg", "9876543210");
    await rename(join(root, "next.jpg"), join(root, "photo.jpg"));
    expect(await tagOf()).not.toBe(before);
  });

  test("one range is 206, several are the whole, none that exists is 416", async () => {
    const part = await ask("/photo.jpg", { fields: { range: "bytes=2-4" } });
    expect([part.status, part.fields.get("content-range"), part.bodyLength]).toEqual([
      206,
      "bytes 2-4/10",
      3,
    ]);
    expect(await text(part)).toBe("234");
    const suffix = await ask("/photo.jpg", { fields: { range: "bytes=-3" } });
    expect(await text(suffix)).toBe("789");
    const several = await ask("/photo.jpg", { fields: { range: "bytes=0-1,3-4" } });
    expect([several.status, await text(several)]).toEqual([200, "0123456789"]);
    const beyond = await ask("/photo.jpg", { fields: { range: "bytes=10-" } });
    expect([beyond.status, beyond.fields.get("content-range")]).toEqual([416, "bytes */10"]);
    await noDescriptors();
  });

  test("If-Range with another tag gives the whole", async () => {
    const changed = await ask("/photo.jpg", { fields: { range: "bytes=2-4", "if-range": '"old"' } });
    expect([changed.status, await text(changed)]).toEqual([200, "0123456789"]);
    const same = await ask("/photo.jpg", {
      fields: { range: "bytes=2-4", "if-range": changed.fields.get("etag") ?? "" },
    });
    expect([same.status, await text(same)]).toEqual([206, "234"]);
  });
});

describe("a file that changes while it is sent", () => {
  const large = PIECE_BYTES * 3;

  test("by rename is sent whole as it was", async () => {
    await put("video.bin", new Uint8Array(large).fill(1));
    await put("next.bin", new Uint8Array(large).fill(2));
    const response = await ask("/video.bin");
    await response.body?.read();
    await rename(join(root, "next.bin"), join(root, "video.bin"));
    expect(await text(response)).toBe("\u0001".repeat(large - PIECE_BYTES));
    await noDescriptors();
  });

  test("by being cut, or written over, is an error and never a whole body", async () => {
    for (const change of [
      () => truncate(join(root, "video.bin"), PIECE_BYTES + 5),
      () => writeFile(join(root, "video.bin"), new Uint8Array(large).fill(2)),
    ]) {
      await put("video.bin", new Uint8Array(large).fill(1));
      const response = await ask("/video.bin");
      await response.body?.read();
      await change();
      expect(await failure(text(response))).toBe("http_response_incomplete");
      expect(await failure(text(response))).toBe("http_response_incomplete");
      await noDescriptors();
    }
  });
});

describe("the descriptor is given back", () => {
  test("when the reader gives up, at once or while a read is in flight", async () => {
    await put("video.bin", new Uint8Array(PIECE_BYTES * 2));
    const early = await ask("/video.bin");
    expect(origin.openFiles).toBe(1);
    early.body?.cancel();
    early.body?.cancel();
    expect(await failure(text(early))).toBe("connection_terminated");
    const late = await ask("/video.bin");
    const reading = failure(late.body?.read() ?? Promise.resolve());
    late.body?.cancel();
    expect(await reading).toBe("connection_terminated");
    await noDescriptors();
  });

  test("when the asker's signal fires, before, during and after the header section", async () => {
    expect(await failure(ask("/photo.jpg", { signal: AbortSignal.abort() }))).toBe("connection_terminated");
    const during = new AbortController();
    const asking = failure(ask("/photo.jpg", { signal: during.signal }));
    during.abort();
    expect(await asking).toBe("connection_terminated");
    await settle();
    const after = new AbortController();
    const response = await ask("/photo.jpg", { signal: after.signal });
    after.abort();
    expect(await failure(text(response))).toBe("connection_terminated");
    await noDescriptors();
  });

  test("when the answer comes later than its limit", async () => {
    const asking = failure(ask("/photo.jpg"));
    clock.advance(timeouts.firstByteMs + 1);
    expect(await asking).toBe("http_response_timeout");
    await settle();
    const response = await ask("/photo.jpg");
    const reading = failure(response.body?.read() ?? Promise.resolve());
    clock.advance(timeouts.betweenBytesMs + 1);
    expect(await reading).toBe("http_response_timeout");
    await settle();
    await noDescriptors();
  });

  test("after any mix of many answers", async () => {
    const targets = ["/", "/photo.jpg", "/guide", "/missing", "/assets/app.3f9a8c1d.js", "/.env", "/assets/"];
    const work = Array.from({ length: 300 }, async (_, i) => {
      const range: Record<string, string> = i % 4 === 0 ? { range: "bytes=1-2" } : {};
      const response = await ask(targets[i % targets.length] ?? "/", {
        method: i % 5 === 0 ? "HEAD" : "GET",
        fields: range,
      });
      if (i % 3 === 0) response.body?.cancel();
      else await text(response);
    });
    await Promise.all(work);
    await noDescriptors();
  });
});
