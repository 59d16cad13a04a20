/** A test of an application behind its CDN, for node:test. Run it: node --test examples/testing/ */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startCdn } from "proxima-cdn/testing";

/** @type {import("proxima-cdn/testing").Cdn} */
let cdn;
let price = 10;

before(async () => {
  cdn = await startCdn({
    // An application, a URL of one, or a directory.
    origin: (request, response) => {
      if (request.url === "/cart") response.setHeader("set-cookie", "cart=1");
      response.setHeader("cache-control", "max-age=60, stale-while-revalidate=600");
      response.setHeader("cache-tag", "product-7");
      response.end(`costs ${price}`);
    },
    pops: ["fra", "nyc"],
  });
});

after(() => cdn?.stop());

test("a page is asked of the origin once, and once more when its minute is over", async () => {
  await cdn.expectMiss("/product/7", { pop: "fra" });
  await cdn.expectHit("/product/7", { pop: "fra" });
  // The other PoP has it from the shield.
  const other = await cdn.expectMiss("/product/7", { pop: "nyc" });
  assert.match(other.cacheStatus, /^shield; hit/);
  await cdn.advance("61s");
  await cdn.expectCacheResult("/product/7", "updating");
});

test("a new price is everywhere as soon as the purge says so", async () => {
  for (const pop of cdn.pops) await cdn.fetch("/product/7", { pop });
  price = 11;
  const { objects } = await cdn.purge({ tags: ["product-7"] });
  assert.ok(objects >= 2);
  for (const pop of cdn.pops) assert.equal((await cdn.fetch("/product/7", { pop })).text(), "costs 11");
});

test("a cart is nobody else's", async () => {
  await cdn.fetch("/cart");
  const { result } = await cdn.fetch("/cart");
  assert.notEqual(result, "hit", (await cdn.explain("/cart")).text);
});
