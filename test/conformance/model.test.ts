/**
 * A model of the rules against the edge: random origins, viewers, clock moves, failures and
 * invalidations. The model does not say what the edge must answer, only what it must never answer:
 * what is stale beyond its windows, personal, invalidated, or of another variant.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import fc from "fast-check";
import { ManualClock } from "../../src/base/clock.ts";
import { type Answer, startTestEdge, type TestEdge } from "../kit/edge.ts";
import { startOrigin, type TestOrigin } from "../kit/origin.ts";
import { START_MS } from "./support.ts";

/** What an origin says of an answer's life. */
interface Says {
  readonly maxAge?: number;
  readonly sMaxage?: number;
  readonly swr?: number;
  readonly sie?: number;
  readonly word?: "no-store" | "private" | "no-cache" | "must-revalidate";
  readonly setCookie?: boolean;
}

/** What the origin does with a path now. */
interface Mood {
  readonly says: Says;
  readonly variesBy: "nothing" | "language";
  readonly validator: boolean;
  readonly fails: boolean;
}

/** Who asks, and how. */
interface Viewer {
  readonly field: "cookie" | "x-api-key" | "authorization" | null;
  readonly name: string;
  readonly language: "de" | "fr";
  readonly coding: "identity" | "gzip" | "br";
}

type Step =
  | { readonly kind: "get"; readonly url: number; readonly viewer: Viewer }
  | { readonly kind: "together"; readonly url: number; readonly viewers: readonly Viewer[] }
  | { readonly kind: "head"; readonly url: number; readonly viewer: Viewer }
  | { readonly kind: "post"; readonly url: number; readonly works: boolean }
  | { readonly kind: "pass"; readonly seconds: number }
  | { readonly kind: "mood"; readonly url: number; readonly mood: Mood }
  | { readonly kind: "publish"; readonly url: number };

/** An answer of the origin, as it was made. It travels in the body, so that the model knows what it sees. */
interface Made {
  readonly sequence: number;
  readonly atMs: number;
  readonly who: string;
  readonly language: string;
  readonly etag: string;
  readonly mood: Mood;
}

const seconds = fc.constantFrom(0, 1, 5, 10, 20);
const says: fc.Arbitrary<Says> = fc.record(
  {
    maxAge: seconds,
    sMaxage: seconds,
    swr: seconds,
    sie: seconds,
    word: fc.constantFrom("no-store", "private", "no-cache", "must-revalidate"),
    setCookie: fc.constantFrom(false, false, false, true),
  },
  { requiredKeys: [] },
);
const mood: fc.Arbitrary<Mood> = fc.record({
  // Most origins say max-age and no more: without a bias almost nothing would be stored.
  says: fc.oneof(
    says,
    fc.record({ maxAge: fc.constantFrom(5, 10, 20) }),
    fc.record({ maxAge: fc.constantFrom(5, 10), sie: fc.constantFrom(20, 40) }),
    fc.record({ maxAge: fc.constantFrom(5, 10), swr: fc.constantFrom(5, 10), sie: fc.constantFrom(10, 20) }),
  ),
  variesBy: fc.constantFrom("nothing", "language"),
  validator: fc.boolean(),
  fails: fc.constantFrom(false, false, false, true),
});
const viewer: fc.Arbitrary<Viewer> = fc.record({
  field: fc.constantFrom(null, null, "cookie", "x-api-key", "authorization"),
  name: fc.constantFrom("ann=1", "bob=1"),
  language: fc.constantFrom("de", "fr"),
  coding: fc.constantFrom("identity", "gzip", "br"),
});
const url = fc.nat({ max: 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("get"), url, viewer }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("together"),
      url,
      viewers: fc.array(viewer, { minLength: 2, maxLength: 5 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("head"), url, viewer }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("post"), url, works: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("pass"), seconds: fc.constantFrom(1, 2, 4, 5, 6, 10, 15, 25) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("mood"), url, mood }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("publish"), url }) },
);

/** One path of one run, as the origin plays it and the model remembers it. */
class Page {
  mood: Mood = { says: { maxAge: 10 }, variesBy: "nothing", validator: true, fails: false };
  version = 1;
  /** Every time that the origin vouched for a representation with this tag. */
  readonly vouched = new Map<string, Made[]>();
  /** Sequence of the last unsafe request that succeeded. */
  invalidatedAt = 0;
  postWorks = true;
  lastFailure = 0;
}

const clock = new ManualClock(START_MS);
const pages = new Map<string, Page>();
let sequence = 0;
let origin: TestOrigin;
let edge: TestEdge;
const results = new Map<string, number>();

beforeAll(async () => {
  origin = startOrigin(answer, clock);
  edge = await startTestEdge({ origin: origin.url, clock });
});
afterAll(async () => {
  await edge.stop();
  await origin.stop();
});

function answer(request: Request): Response {
  const page = pages.get(new URL(request.url).pathname) as Page;
  sequence++;
  if (request.method === "POST") {
    if (page.postWorks) page.invalidatedAt = sequence;
    return new Response("done", { status: page.postWorks ? 200 : 500 });
  }
  const { mood } = page;
  if (mood.fails) {
    page.lastFailure = sequence;
    return new Response("down", { status: 503 });
  }
  const who = ["cookie", "x-api-key", "authorization"]
    .map((name) => request.headers.get(name) ?? "")
    .join("|");
  const language = request.headers.get("accept-language") ?? "";
  // One representation for each version and language, whoever asks: a validator can be shared, a body tells for whom it was made.
  const etag = `"${page.version}-${mood.variesBy === "language" ? language : "all"}-${isPersonal(mood.says) ? who : "any"}"`;
  const made: Made = { sequence, atMs: clock.now(), who, language, etag, mood };
  const list = page.vouched.get(etag);
  if (list === undefined) page.vouched.set(etag, [made]);
  else list.push(made);
  const headers = new Headers({ "content-type": "application/json" });
  const control = controlOf(mood.says);
  if (control !== "") headers.set("cache-control", control);
  if (mood.variesBy === "language") headers.set("vary", "Accept-Language");
  if (mood.validator) headers.set("etag", etag);
  if (mood.says.setCookie === true) headers.set("set-cookie", `for=${encodeURIComponent(who)}`);
  if (request.headers.get("if-none-match") === etag) return new Response(null, { status: 304, headers });
  return new Response(JSON.stringify({ ...made, padding: "x".repeat(600) }), { headers });
}

function controlOf({ maxAge, sMaxage, swr, sie, word }: Says): string {
  return [
    ...(maxAge === undefined ? [] : [`max-age=${maxAge}`]),
    ...(sMaxage === undefined ? [] : [`s-maxage=${sMaxage}`]),
    ...(swr === undefined ? [] : [`stale-while-revalidate=${swr}`]),
    ...(sie === undefined ? [] : [`stale-if-error=${sie}`]),
    ...(word === undefined ? [] : [word]),
  ].join(", ");
}

/** Does an answer with these words speak to the one who asked only? */
function isPersonal({ maxAge, sMaxage, word, setCookie, swr, sie }: Says): boolean {
  if (word === "no-store" || word === "private" || word === "no-cache" || setCookie === true) return true;
  return (sMaxage ?? maxAge ?? 0) === 0 && swr === undefined && sie === undefined;
}

/** May an answer made so be used `ageMs` later for others, the origin failing or not? */
function isUsable({ mood }: Made, ageMs: number, failed: boolean): boolean {
  const { maxAge, sMaxage, swr, sie, word, setCookie } = mood.says;
  if (word === "no-store" || word === "private" || setCookie === true) return false;
  const life = sMaxage ?? maxAge;
  if (life === undefined || word === "no-cache") return false;
  if (ageMs < life * 1000) return true;
  const noStale =
    word === "must-revalidate" || (sMaxage !== undefined && swr === undefined && sie === undefined);
  if (noStale) return false;
  return ageMs < (life + (swr ?? 0)) * 1000 || (failed && ageMs < (life + (sie ?? 0)) * 1000);
}

const headersOf = ({ field, name, language, coding }: Viewer): Record<string, string> => ({
  "accept-language": language,
  "accept-encoding": coding,
  ...(field === null ? {} : { [field]: name }),
});
const whoOf = ({ field, name }: Viewer): string =>
  ["cookie", "x-api-key", "authorization"].map((one) => (one === field ? name : "")).join("|");

function read(answer: Answer, viewer: Viewer): Made {
  const coding = answer.headers.get("content-encoding");
  expect(coding === null || coding === viewer.coding).toBe(true);
  const text =
    coding === "gzip"
      ? gunzipSync(answer.bytes).toString()
      : coding === "br"
        ? brotliDecompressSync(answer.bytes).toString()
        : answer.body;
  return JSON.parse(text) as Made;
}

/** Throws when the model forbids this answer to this viewer, who asked when the origin had answered `before` times. */
function judge(page: Page, viewer: Viewer, answer: Answer, before: number, invalidatedAt: number): void {
  results.set(answer.cache ?? "", (results.get(answer.cache ?? "") ?? 0) + 1);
  const failed = page.lastFailure > before;
  if (answer.status === 503) {
    expect(failed).toBe(true);
    return;
  }
  expect(answer.status).toBe(200);
  const made = read(answer, viewer);
  if (made.mood.variesBy === "language") expect(made.language).toBe(viewer.language);
  const vouchers = (page.vouched.get(made.etag) as Made[]).filter((one) => one.sequence >= made.sequence);
  const forThisRequest = vouchers.some(
    (one) => one.sequence > before && one.who === whoOf(viewer) && one.language === viewer.language,
  );
  const says = JSON.stringify({ made, vouchers, viewer, cache: answer.cache, nowMs: clock.now(), before });
  if (forThisRequest) {
    // What others were given before may come back validated; what was one viewer's may not.
    if (made.who !== whoOf(viewer) && isPersonal(made.mood.says))
      throw new Error(`another viewer's own answer: ${says}`);
    return;
  }
  if (viewer.field === "authorization")
    throw new Error(`an answer from the cache to a request with Authorization: ${says}`);
  if (answer.headers.has("set-cookie")) throw new Error(`another viewer's cookie: ${says}`);
  // An invalidation ends what was made before it, also when it was validated since.
  if (made.sequence < invalidatedAt) throw new Error(`invalidated: ${says}`);
  const nowMs = clock.now();
  if (!vouchers.some((one) => isUsable(one, nowMs - one.atMs, failed)))
    throw new Error(`beyond its windows: ${says}`);
  if (answer.cache === "HIT") {
    // Age may be larger than the truth (a refresh during which the clock moved counts its delay), never smaller.
    const youngest = Math.min(...vouchers.map((one) => Math.floor((nowMs - one.atMs) / 1000)));
    expect(Number(answer.headers.get("age"))).toBeGreaterThanOrEqual(youngest);
  }
}

let runs = 0;
async function play(steps: readonly Step[]): Promise<void> {
  const run = ++runs;
  const paths = [0, 1].map((n) => `/run-${run}/${n}`);
  for (const path of paths) pages.set(path, new Page());
  for (const one of steps) {
    if (one.kind === "pass") {
      clock.advance(one.seconds * 1000);
      continue;
    }
    const path = paths[one.url] as string;
    const page = pages.get(path) as Page;
    const before = sequence;
    const { invalidatedAt } = page;
    switch (one.kind) {
      case "get":
        judge(page, one.viewer, await edge.get(path, headersOf(one.viewer)), before, invalidatedAt);
        break;
      case "together": {
        const answers = await Promise.all(one.viewers.map((viewer) => edge.get(path, headersOf(viewer))));
        for (const [i, answer] of answers.entries())
          judge(page, one.viewers[i] as Viewer, answer, before, invalidatedAt);
        break;
      }
      case "head":
        await edge.get(path, headersOf(one.viewer), { method: "HEAD" });
        break;
      case "post":
        page.postWorks = one.works;
        await edge.get(path, {}, { method: "POST" });
        break;
      case "mood":
        page.mood = one.mood;
        break;
      case "publish":
        page.version++;
        break;
    }
  }
}

const calm: Mood = { says: { maxAge: 5 }, variesBy: "nothing", validator: true, fails: false };
const anyone: Viewer = { field: null, name: "ann=1", language: "de", coding: "identity" };
const get: Step = { kind: "get", url: 0, viewer: anyone };
const pass: Step = { kind: "pass", seconds: 6 };
const be = (change: Partial<Mood>): Step => ({ kind: "mood", url: 0, mood: { ...calm, ...change } });

/** Played in each run of this test, so that every result is seen: a run that never stores would prove nothing. */
const everyResult: readonly Step[] = [
  be({}),
  get,
  get,
  pass,
  get,
  be({ says: { maxAge: 5, sie: 100 } }),
  { kind: "publish", url: 0 },
  pass,
  get,
  be({ fails: true }),
  pass,
  get,
  be({ says: { maxAge: 5, swr: 100 } }),
  get,
  pass,
  get,
  { kind: "get", url: 0, viewer: { ...anyone, field: "authorization" } },
];

test("no sequence of requests, moods of the origin and clock moves makes the edge serve what the model forbids", async () => {
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 80, size: "max" }), play), {
    numRuns: 150,
    interruptAfterTimeLimit: 6000,
    examples: [[everyResult]],
  });
  for (const result of ["HIT", "MISS", "BYPASS", "EXPIRED", "REVALIDATED", "UPDATING", "STALE"]) {
    expect([result, (results.get(result) ?? 0) > 0]).toEqual([result, true]);
  }
}, 30_000);
