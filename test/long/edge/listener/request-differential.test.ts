/** A long comparison of the edge's parser of requests with llhttp; `SEED` begins somewhere else. */
import { expect, test } from "bun:test";
import { compareParsers } from "../../../kit/request-differential.ts";

test("300,000 mutated connections are read alike by the edge and by llhttp", async () => {
  const first = Number(process.env.SEED ?? Date.now() % 1_000_000);
  console.log(`SEED=${first}`);
  let whole = 0;
  for (let i = 0; i < 30; i += 1) whole += (await compareParsers(first + i, 10_000)).whole;
  expect(whole).toBeGreaterThan(100_000);
}, 600_000);
