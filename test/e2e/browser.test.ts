/** A real browser in front of the edge: the demo site, HTTP/3 after Alt-Svc, WebSocket. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { createHash, randomBytes, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { findChromium } from "../../scripts/system.mjs";
import { startTestEdge, type TestEdge } from "../kit/edge.ts";
import { Programs } from "../kit/program.ts";

/** Every part of the browser that would go out by itself is off. */
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-background-networking",
  "--disable-component-update",
  "--no-first-run",
];

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

function launch(...more: string[]): Promise<Browser> {
  const executablePath = findChromium();
  if (executablePath === null) throw new Error("chromium is not installed; npm test installs it");
  return chromium.launch({ executablePath, args: [...FLAGS, ...more] });
}

/** The flag by which the browser takes certificates of this key for good, also over QUIC. */
function trust(...certificates: readonly string[]): string {
  const hashes = certificates.map((pem) => {
    const key = new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" });
    return createHash("sha256").update(key).digest("base64");
  });
  return `--ignore-certificate-errors-spki-list=${hashes.join(",")}`;
}

/** What a page complains of, collected from its first moment. */
function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning")
      complaints.push(`${message.type()}: ${message.text()} ${message.location().url}`);
  });
  page.on("pageerror", (error) => complaints.push(`uncaught: ${error.message}`));
  return complaints;
}

describe("the demo site in a browser", () => {
  const programs = new Programs();
  let browser: Browser;
  let url = "";
  beforeAll(async () => {
    const program = programs.start(["dev", "--http", ":0", "--https", ":0", "--control", ":0"]);
    url = (await program.addresses()).http;
    browser = await launch();
  }, 20_000);
  afterAll(async () => {
    await browser.close();
    await programs.stop();
  });

  for (const [width, height] of [
    [1280, 800],
    [390, 844],
  ] as const) {
    test(`at ${width} pixels shows MISS, then HIT, without a complaint and without scrolling sideways`, async () => {
      // Hosts of their own, so that neither run finds what the other has stored.
      const context = await browser.newContext({ viewport: { width, height } });
      stops.push(() => context.close());
      const page = await context.newPage();
      const complaints = complaintsOf(page);
      const response = await page.goto(url.replace("127.0.0.1", width === 1280 ? "127.0.0.1" : "localhost"));
      expect(response?.status()).toBe(200);
      const rows = page.locator("tr[data-url]");
      const shown = async () =>
        Object.fromEntries(
          await rows.evaluateAll((all) =>
            all.map((row) => [row.getAttribute("data-url"), row.querySelector(".tag")?.textContent]),
          ),
        ) as Record<string, string>;
      // The page allows no evaluated code, so it is asked from outside until every row has its answer.
      const settled = async () => {
        for (const endMs = Date.now() + 8_000; Date.now() < endMs; await Bun.sleep(50)) {
          const waiting = await page.locator("button:disabled").count();
          if (waiting === 0 && !Object.values(await shown()).includes("…")) return;
        }
        throw new Error("the table did not settle");
      };
      await settled();
      const first = await shown();
      for (const path of ["/images/sunrise.webp", "/api/time", "/api/products?page=1", "/slow"])
        expect([path, first[path]]).toEqual([path, "MISS"]);
      await page.locator("#all").click();
      await settled();
      const second = await shown();
      for (const path of ["/images/sunrise.webp", "/api/products?page=1", "/slow"])
        expect([path, second[path]]).toEqual([path, "HIT"]);
      expect(second["/account"]).toBe("BYPASS");
      // The row that asks for what is not there is answered 404, which browsers report as an error.
      expect(complaints.filter((line) => !line.includes("/missing"))).toEqual([]);
      const overflow = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth",
      );
      expect(overflow).toBe(0);
      const broken = await page.evaluate(
        "[...document.images].filter((image) => !image.complete || image.naturalWidth === 0).map((image) => image.src)",
      );
      expect(broken).toEqual([]);
    }, 20_000);
  }
});

describe("HTTP/3 in a browser", () => {
  const film = randomBytes(20 * 1024 * 1024);
  const digest = createHash("sha256").update(film).digest("hex");
  let origin: Bun.Server<undefined>;
  let edge: TestEdge;
  let browser: Browser;
  let page: Page;
  const seen: string[] = [];

  beforeAll(async () => {
    origin = Bun.serve<undefined>({
      hostname: "127.0.0.1",
      port: 0,
      fetch(request, server) {
        const { pathname } = new URL(request.url);
        seen.push(`${request.method} ${pathname}`);
        if (server.upgrade(request)) return undefined;
        if (pathname === "/film" || pathname === "/film-unstored") {
          const cacheControl = pathname === "/film" ? "max-age=600" : "no-store";
          return new Response(film, {
            headers: { "content-type": "video/mp4", "cache-control": cacheControl },
          });
        }
        if (pathname === "/upload")
          return request
            .bytes()
            .then((bytes) => new Response(createHash("sha256").update(bytes).digest("hex")));
        if (pathname === "/events") {
          const stream = (async function* () {
            for (let i = 0; i < 3; i++) {
              yield `data: ${i}\n\n`;
              await Bun.sleep(20);
            }
          })();
          return new Response(stream, {
            headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
          });
        }
        return new Response("<!doctype html><title>p</title><link rel=icon href=data:,>", {
          headers: { "content-type": "text/html", "cache-control": "max-age=60" },
        });
      },
      websocket: { message: (socket, message) => void socket.send(message) },
    });
    edge = await startTestEdge({ origin: `http://127.0.0.1:${origin.port}`, https: true });
    const issued = readFileSync(join(edge.dataDir, leafOf(edge.dataDir)), "utf8");
    // Browsers take QUIC from well-known authorities only, but for hosts named here: another port of this one,
    // so that for ours nothing but Alt-Svc leads to HTTP/3. Over QUIC they try one address only, and localhost is ::1 first.
    browser = await launch(
      trust(issued, edge.ca),
      "--origin-to-force-quic-on=localhost:9",
      "--host-resolver-rules=MAP localhost 127.0.0.1",
    );
    page = await (await browser.newContext()).newPage();
  }, 20_000);
  afterAll(async () => {
    await browser.close();
    await edge.stop();
    await origin.stop(true);
  });

  /** The protocol of each request of the page for this path, as the browser says. */
  const protocols = (path: string) =>
    page.evaluate(
      (wanted) =>
        performance
          .getEntriesByType("resource")
          .filter(({ name }) => new URL(name).pathname === wanted)
          .map((entry) => (entry as PerformanceResourceTiming).nextHopProtocol),
      path,
    );
  const sha256 = `async (bytes) => [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("")`;

  test("is used after Alt-Svc has told of it", async () => {
    await page.goto(edge.httpsUrl);
    let protocol = await page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol");
    expect(protocol).toBe("h2");
    for (let attempt = 0; protocol !== "h3" && attempt < 20; attempt++) {
      await Bun.sleep(100);
      await page.goto(`${edge.httpsUrl}/?${attempt}`);
      protocol = await page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol");
    }
    expect(protocol).toBe("h3");
  }, 15_000);

  for (const path of ["/film", "/film-unstored"]) {
    test(`carries 20 MB whole (${path === "/film" ? "stored" : "not stored: the browser is sent to TCP"})`, async () => {
      for (const time of [1, 2]) {
        const got = await page.evaluate(`(async () => {
          const response = await fetch("${path}", { cache: "no-store" });
          const bytes = await response.arrayBuffer();
          return [response.status, bytes.byteLength, await (${sha256})(bytes)];
        })()`);
        expect([time, got]).toEqual([time, [200, film.length, digest]]);
      }
      const used = await protocols(path);
      expect(used).toHaveLength(2);
      if (path === "/film") expect(used[1]).toBe("h3");
    }, 20_000);
  }

  test("carries 5 MB up whole, and the origin gets it once", async () => {
    const got = await page.evaluate(`(async () => {
      const bytes = new Uint8Array(5 * 1024 * 1024).map((_, i) => i * 31);
      const response = await fetch("/upload", { method: "POST", body: bytes });
      return [response.status, (await response.text()) === await (${sha256})(bytes)];
    })()`);
    expect(got).toEqual([200, true]);
    expect(seen.filter((request) => request === "POST /upload")).toHaveLength(1);
    expect(await protocols("/upload")).toEqual(["h3"]);
  }, 20_000);

  test("passes a stream of events event by event", async () => {
    const got = await page.evaluate(`new Promise((resolve) => {
      const events = [];
      const source = new EventSource("/events");
      source.onmessage = ({ data }) => {
        events.push(data);
        if (events.length === 3) { source.close(); resolve(events); }
      };
    })`);
    expect(got).toEqual(["0", "1", "2"]);
  });

  test("echoes through a WebSocket, in text and in bytes", async () => {
    const got = await page.evaluate(`new Promise((resolve, reject) => {
      const socket = new WebSocket(location.origin.replace("http", "ws") + "/socket");
      socket.binaryType = "arraybuffer";
      const answers = [];
      socket.onopen = () => { socket.send("hello"); socket.send(new Uint8Array([1, 2, 3])); };
      socket.onmessage = ({ data }) => {
        answers.push(typeof data === "string" ? data : [...new Uint8Array(data)]);
        if (answers.length === 2) socket.close(1000);
      };
      socket.onclose = ({ code }) => resolve([answers, code]);
      socket.onerror = () => reject(new Error("the socket failed"));
    })`);
    expect(got).toEqual([["hello", [1, 2, 3]], 1000]);
  });
});

/** The file of the certificate that the local authority issued. */
function leafOf(dataDir: string): string {
  const [leaf] = [...new Bun.Glob("leaf-*.pem").scanSync(dataDir)];
  if (leaf === undefined) throw new Error("no certificate was issued");
  return leaf;
}
