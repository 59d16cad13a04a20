/**
 * The probe behind docs/decisions/0003-http3-bodies.md: what Chromium makes of the HTTP/3 listener's
 * answers. It starts a listener and a headless Chromium (CHROMIUM=path, default "chromium") that finds
 * HTTP/3 by Alt-Svc, and prints one line for each question. Exit status 1 when an answer is not the
 * one that the decision stands on.
 */
import { createHash, X509Certificate } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { systemClock } from "../src/base/clock.ts";
import { startListeners } from "../src/edge/listener/edge-listener.ts";
import type { ViewerResponse } from "../src/edge/message.ts";
import { ensureLocalCa } from "../src/edge/tls/local-ca.ts";
import type { BodyReader } from "../src/http/body.ts";
import { Fields } from "../src/http/fields.ts";

const executablePath = process.env.CHROMIUM ?? Bun.which("chromium") ?? "chromium";
const home = await mkdtemp(join(tmpdir(), "proxima-http3-"));
const ca = await ensureLocalCa(home);
const pair = await ca.issue(["site.test"]);
const seen: string[] = [];

/** `count` pieces of 64 KB, then the end or a failure. */
function pieces(count: number, fails: boolean): BodyReader {
  let left = count;
  return {
    async read() {
      await Bun.sleep(1);
      if (left > 0) {
        left -= 1;
        return new Uint8Array(65_536).fill(120);
      }
      if (fails) throw new Error("the origin went away");
      return null;
    },
    cancel() {},
  };
}

function answer(body: ViewerResponse["body"]): ViewerResponse {
  const fields = Fields.from([
    ["content-type", "text/html"],
    ["cache-control", "no-store"],
  ]);
  return { status: 200, fields, body };
}

const listeners = await startListeners({
  http: null,
  https: { hostname: "127.0.0.1", port: 0 },
  http3: true,
  proxyProtocol: false,
  tls: { default: pair, named: [], minVersion: "1.2" },
  handler(request) {
    const { pathname } = new URL(request.url);
    seen.push(`${request.method} ${pathname} ${request.http3 ? "h3" : "tcp"}`);
    switch (pathname) {
      case "/small":
        return answer(pieces(10, false));
      case "/small-broken":
        return answer(pieces(10, true));
      case "/large":
        return answer(pieces(40, false));
      case "/large-broken":
        return answer(pieces(40, true));
      default:
        return answer(new TextEncoder().encode("<!doctype html><title>x</title>"));
    }
  },
  altSvc: () => true,
  requestBodyBytesMax: 1_000_000,
  clock: systemClock,
  onError() {},
  limits: { http3SpoolBytesMax: 1024 * 1024, idleSeconds: 8 },
});
const port = listeners.httpsAddress?.port ?? 0;
const origin = `https://site.test:${port}`;
const publicKey = new X509Certificate(pair.cert).publicKey.export({ type: "spki", format: "der" });
const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox",
    "--disable-background-networking",
    `--ignore-certificate-errors-spki-list=${createHash("sha256").update(publicKey).digest("base64")}`,
    "--host-resolver-rules=MAP site.test 127.0.0.1",
    // Chromium speaks QUIC only where a public authority signed. Naming the host here lifts that for the
    // host; the port is another one, so that HTTP/3 is still found by Alt-Svc and TCP stays allowed.
    "--origin-to-force-quic-on=site.test:1",
  ],
});
let failed = false;

function report(question: string, got: string, wanted: string): void {
  if (got !== wanted) failed = true;
  console.log(`${got === wanted ? "ok  " : "FAIL"} ${question}: ${got}`);
}

try {
  const page = await browser.newPage();
  const protocol = () =>
    page.evaluate(
      (url) =>
        performance
          .getEntries()
          .map((entry) =>
            "nextHopProtocol" in entry && entry.name === url ? String(entry.nextHopProtocol) : "",
          )
          .join(""),
      `${origin}/`,
    );
  /** Loads a page until it came over HTTP/3. */
  const reachHttp3 = async () => {
    for (let i = 0; i < 20; i += 1) {
      await page.goto(`${origin}/`);
      if ((await protocol()) === "h3") return "h3";
      await Bun.sleep(250);
    }
    return protocol();
  };
  const load = (path: string, method: string) =>
    page.evaluate(
      async ([path, method]) => {
        try {
          const response = await fetch(path, { method, cache: "no-store" });
          return `${response.status}, ${(await response.arrayBuffer()).byteLength} bytes`;
        } catch {
          return "failed";
        }
      },
      [path, method] as const,
    );

  report("the page comes over HTTP/3 after Alt-Svc", await reachHttp3(), "h3");
  report("GET of a streamed body within the limit", await load("/small", "GET"), "200, 655360 bytes");
  report("GET of a body that breaks within the limit", await load("/small-broken", "GET"), "502, 35 bytes");
  seen.length = 0;
  report("GET beyond the limit", await load("/large", "GET"), "200, 2621440 bytes");
  report("  the browser asked", seen.join(", "), "GET /large h3, GET /large tcp");
  report("  the next page still comes over HTTP/3", await reachHttp3(), "h3");
  seen.length = 0;
  report("POST beyond the limit", await load("/large", "POST"), "200, 2621440 bytes");
  report("  the browser asked", seen.join(", "), "POST /large h3");
  report("GET beyond the limit that breaks", await load("/large-broken", "GET"), "failed");
  await reachHttp3();
  seen.length = 0;
  report(
    "POST beyond the limit that breaks, when the idle limit ends it",
    await load("/large-broken", "POST"),
    "failed",
  );
  report("  the browser asked", seen.join(", "), "POST /large-broken h3");
  await reachHttp3();
  const held = load("/large-broken", "POST");
  while (!seen.includes("POST /large-broken h3")) await Bun.sleep(10);
  await Bun.sleep(1_000);
  listeners.stop();
  report("POST beyond the limit that breaks, when the node stops", await held, "failed");
} finally {
  await browser.close();
  listeners.stop();
  await rm(home, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);
