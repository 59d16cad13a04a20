/** What a node makes of the fleet's log, and the keys of URLs. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseConfig } from "../../../../src/config/parse.ts";
import type { Config } from "../../../../src/config/schema.ts";
import { stepsOf, type TargetsInForce } from "../../../../src/node/fleet/steps.ts";
import { UrlTargets } from "../../../../src/node/fleet/url-targets.ts";

const entry = (sequence: number, body: { kind: string }) => ({
  sequence,
  acceptedMs: 1,
  digest: `d${sequence}`,
  body,
});
const purge = (sequence: number) =>
  entry(sequence, {
    kind: "purge",
    id: `p${sequence}`,
    site: "s",
    scope: "tag",
    targets: ["t"],
    mode: "hard",
  } as never);
const snapshot = (sequence: number, number: number) =>
  entry(sequence, { kind: "snapshot", snapshot: number } as never);
const noKeys: TargetsInForce = { keysOf: () => [], tagsOf: (_site, tags) => tags };
const show = (changes: ReturnType<typeof entry>[], unknown = (): void => {}) =>
  stepsOf({ log: "l", changes }, unknown).map(({ snapshot: number, purges, position }) => [
    number,
    purges(noKeys).map(({ sequence }) => sequence),
    position.sequence,
  ]);

describe("the steps of an answer", () => {
  test("keep snapshots and purges in their order, and leave out snapshots that newer ones follow", () => {
    expect(show([snapshot(1, 1), snapshot(2, 2), purge(3), purge(4), snapshot(5, 3), purge(6)])).toEqual([
      [2, [3, 4], 4],
      [3, [6], 6],
    ]);
    expect(show([purge(1), snapshot(2, 1), snapshot(3, 2)])).toEqual([
      [null, [1], 1],
      [2, [], 3],
    ]);
    expect(show([entry(7, { kind: "start" })])).toEqual([[null, [], 7]]);
    expect(show([])).toEqual([]);
  });

  test("set the clock behind the purges before it, as the last move of the step says", () => {
    const clock = (sequence: number, offsetMs: number) =>
      entry(sequence, { kind: "clock", offsetMs, frozenAtMs: null } as never);
    const changes = [purge(1), clock(2, 10), clock(3, 20), snapshot(4, 1), purge(5), clock(6, 30)];
    const steps = stepsOf({ log: "l", changes }, () => {});
    expect(
      steps.map((step) => [
        step.snapshot,
        step.clock?.offsetMs ?? null,
        step.purges(noKeys).map(({ sequence }) => sequence),
        step.position.sequence,
      ]),
    ).toEqual([
      [null, null, [1], 1],
      [1, 20, [5], 5],
      [null, 30, [], 6],
    ]);
  });

  test("pass over what a newer control plane says, and tell of it", () => {
    const told: unknown[] = [];
    const changes = [purge(1), entry(2, { kind: "novelty" }), purge(3)];
    expect(
      stepsOf({ log: "l", changes }, (...what) => told.push(what)).map(({ position }) => position.sequence),
    ).toEqual([3]);
    expect(told).toEqual([[2, "novelty"]]);
  });

  test("hold every purge once, in order, whatever stands between", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("p", "s", "x")), (kinds) => {
        const changes = kinds.map((kind, i) =>
          kind === "p" ? purge(i + 1) : kind === "s" ? snapshot(i + 1, i + 1) : entry(i + 1, { kind: "x" }),
        );
        const steps = stepsOf({ log: "l", changes }, () => {});
        expect(steps.flatMap(({ purges }) => purges(noKeys).map(({ sequence }) => sequence))).toEqual(
          changes.filter(({ body }) => body.kind === "purge").map(({ sequence }) => sequence),
        );
        expect(steps.at(-1)?.position.sequence ?? 0).toBe(changes.length);
      }),
    );
  });
});

describe("a URL that is purged", () => {
  const sites = (behavior: Record<string, unknown>): Config["sites"] => {
    const parsed = parseConfig({
      sites: {
        s: {
          hosts: ["*"],
          origins: { o: { url: "http://o.test" } },
          behaviors: [{ path: "/*", ...behavior }],
        },
      },
    });
    if (!parsed.ok) throw new Error("no config");
    return parsed.config.sites;
  };

  test("has its key in each of the site's last configs, and none in a site that is not known", () => {
    const targets = new UrlTargets();
    targets.remember(sites({ cacheKey: { query: "none" } }));
    targets.remember(sites({}));
    expect(targets.keysOf("s", ["https://a.test/x?y=1#z"]).sort()).toEqual(["a.test/x", "a.test/x?y=1"]);
    expect(targets.keysOf("other", ["https://a.test/x"])).toEqual([]);
    expect(targets.keysOf("s", ["nonsense", "ftp://a.test/"])).toEqual([]);
  });

  test("has its tags folded where one of the last configs does that", () => {
    const targets = new UrlTargets();
    targets.remember(sites({}));
    expect(targets.tagsOf("s", ["A"])).toEqual(["A"]);
    const [[id, site] = []] = Object.entries(sites({}));
    if (id === undefined || site === undefined) throw new Error("no site");
    targets.remember({ [id]: { ...site, tagCase: "insensitive" } });
    expect(targets.tagsOf("s", ["A"])).toEqual(["A", "a"]);
    targets.remember(sites({}));
    expect(targets.tagsOf("s", ["A"])).toEqual(["A", "a"]);
    expect(targets.tagsOf("other", ["A"])).toEqual(["A"]);
  });

  test("is remembered for four configs, and the same one takes no second place", () => {
    const targets = new UrlTargets();
    const first = sites({ cacheKey: { query: "none" } });
    targets.remember(first);
    for (let i = 0; i < 10; i++) targets.remember(first);
    for (let i = 0; i < 3; i++) targets.remember(sites({ maxVariants: i + 1 }));
    expect(targets.keysOf("s", ["https://a.test/x?y=1"])).toContain("a.test/x");
    targets.remember(sites({ maxVariants: 9 }));
    expect(targets.keysOf("s", ["https://a.test/x?y=1"])).toEqual(["a.test/x?y=1"]);
  });
});
