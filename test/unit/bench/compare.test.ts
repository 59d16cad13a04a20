import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compared, describeFalls, falls, ratiosOf } from "../../../bench/compare/baseline.ts";
import { CELLS, cellsOf } from "../../../bench/compare/cells.ts";
import { chart } from "../../../bench/compare/chart.ts";
import { parseH2load } from "../../../bench/compare/load/h2load.ts";
import { parseWrk } from "../../../bench/compare/load/wrk.ts";
import { parseOptions } from "../../../bench/compare/options.ts";
import { describeMissing, missingPrograms, PEER_PROGRAMS, TOOLS } from "../../../bench/compare/packages.ts";
import { merge, parseVariant } from "../../../bench/compare/peers/proxima.ts";
import { markdown, show } from "../../../bench/compare/report.ts";
import type { CellResult, Results, Sample } from "../../../bench/compare/results.ts";
import { rateRatio } from "../../../bench/compare/results.ts";
import { problemOf } from "../../../bench/compare/rounds.ts";
import { median, medianRatio, quantile } from "../../../bench/compare/statistics.ts";
import { outcomes } from "../../../bench/compare/targets.ts";
import { isUncacheable, mixOf, mixPath, wanted } from "../../../bench/compare/workload.ts";

const REPOSITORY = join(import.meta.dir, "../../..");
const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

const WRK = `Running 2s test @ http://127.0.0.1:40001/hit/1024/a
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   301.22us  120.00us   4.10ms   90.11%
    Req/Sec   101.10k     3.02k  107.00k    80.00%
  Latency Distribution
     50%  264.00us
     75%  310.00us
     90%  402.00us
     99%    1.15ms
  230012 requests in 2.00s, 300.11MB read
Requests/sec: 114903.25
Transfer/sec:    150.00MB
`;
const H2LOAD = `starting benchmark...
Application protocol: h2
finished in 2.00s, 132000.50 req/s, 130.00MB/s
requests: 264001 total, 264161 started, 264001 done, 264001 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 264001 2xx, 0 3xx, 0 4xx, 0 5xx
`;

describe("what generators print", () => {
  test("wrk's counts, rate and percentiles are read in microseconds", () => {
    expect(parseWrk(WRK)).toEqual({
      requests: 230_012,
      requestsPerSecond: 114_903.25,
      p50Us: 264,
      p99Us: 1_150,
      failures: 0,
    });
  });

  test("wrk's refused and broken requests are failures", () => {
    const text = WRK.replace(
      "Requests/sec",
      "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 500\nRequests/sec",
    );
    expect(parseWrk(text).failures).toBe(510);
  });

  test("what is not a report of wrk is an error that shows it", () => {
    expect(() => parseWrk("unable to connect to 127.0.0.1:1 Connection refused\n")).toThrow(
      "wrk printed no report: unable to connect to 127.0.0.1:1 Connection refused",
    );
  });

  test("h2load's percentiles come from its log", () => {
    const log = Array.from({ length: 100 }, (_, at) => `170000000000${at}\t200\t${100 - at}\n`).join("");
    expect(parseH2load(H2LOAD, log, "h2")).toEqual({
      requests: 264_001,
      requestsPerSecond: 132_000.5,
      p50Us: 51,
      p99Us: 100,
      failures: 0,
    });
  });

  test("h2load's 5xx answers and failures count once", () => {
    const text = H2LOAD.replace("0 failed", "7 failed").replace("0 5xx", "7 5xx");
    expect(parseH2load(text, "", "h2").failures).toBe(7);
  });

  test("an answer in another protocol than the cell's is an error", () => {
    const text = H2LOAD.replace("protocol: h2", "protocol: http/1.1");
    expect(() => parseH2load(text, "", "h2")).toThrow("h2load spoke http/1.1, not h2");
  });
});

describe("statistics", () => {
  test("a median of an even number lies between the middle two", () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([])).toBeNaN();
  });

  test("a ratio is the median of the rounds' ratios, not the ratio of medians", () => {
    expect(medianRatio([10, 40, 30], [10, 10, 20])).toBe(1.5);
  });

  test("a quantile of one value is that value", () => {
    expect(quantile([7], 0.99)).toBe(7);
  });
});

function sample(requestsPerSecond: number): Sample {
  return { requestsPerSecond, p50Us: 100, p99Us: 500, cpuUs: 10, busy: 1, foreign: 0 };
}

function results(cells: readonly CellResult[], measures: Results["measures"] = []): Results {
  return {
    startedAt: "2026-01-01T00:00",
    command: "npm run bench -- quick",
    machine: { CPU: "2 x Test" },
    versions: { nginx: "1.22.1" },
    tuning: { nginx: "as it is" },
    rounds: 2,
    seconds: 1,
    cells: [{ id: "h1-1kb", group: "hits", title: "HTTP/1.1, 1 KB" }],
    peers: ["proxima", "nginx", "h2o"],
    ceilings: ["h2o"],
    cellResults: cells,
    measures,
  };
}

const GOOD: readonly CellResult[] = [
  { cell: "h1-1kb", peer: "proxima", samples: [sample(120), sample(110)], void: null },
  { cell: "h1-1kb", peer: "nginx", samples: [sample(100), sample(100)], void: null },
  { cell: "h1-1kb", peer: "h2o", samples: [sample(200), sample(200)], void: null },
];

describe("results", () => {
  test("a void cell has no ratio", () => {
    const bad = GOOD.map((one) => (one.peer === "nginx" ? { ...one, void: "answers 500, not 200" } : one));
    expect(rateRatio(results(GOOD), "h1-1kb", "proxima", "nginx")).toBeCloseTo(1.15);
    expect(rateRatio(results(bad), "h1-1kb", "proxima", "nginx")).toBeNull();
  });

  test("the report tells rates, ratios, what is void and why, and the targets", () => {
    const bad = GOOD.map((one) => (one.peer === "h2o" ? { ...one, void: "a body of other bytes" } : one));
    const text = markdown(
      results(bad, [
        { measure: "500 viewers, cold", peer: "proxima", figures: { "origin requests": 2 }, void: null },
      ]),
    );
    expect(text).toContain("| HTTP/1.1, 1 KB | 115 (100 / 500; 10) | 100 (100 / 500; 10) | void |");
    expect(text).toContain("| HTTP/1.1, 1 KB | 1.15 (CPU 1.00) | - |");
    expect(text).toContain("- h1-1kb, h2o: a body of other bytes");
    expect(text).toContain("| HTTP/1.1, 1 KB: rate / nginx | >= 1.1 | 1.15 | 1 | met |");
    expect(text).toContain("| 500 viewers, cold: origin requests | <= 1 | 2 | - | **missed** |");
  });

  test("the report says when other work disturbed samples, and only then", () => {
    const noisy = GOOD.map((one) => ({
      ...one,
      samples: one.samples.map((each, at) => ({ ...each, foreign: at === 0 ? 0.5 : 0.1 })),
    }));
    expect(markdown(results(noisy))).toContain("**In 3 of 6 samples other work had more than 15 %");
    expect(markdown(results(GOOD))).not.toContain("other work");
  });

  test("a target that was not validly measured is neither met nor missed", () => {
    const bad = GOOD.map((one) => (one.peer === "nginx" ? { ...one, void: "no answers" } : one));
    expect(outcomes(results(bad))).toEqual([
      { text: "HTTP/1.1, 1 KB: rate / nginx", wanted: ">= 1.1", measured: null, met: null, byCpu: null },
    ]);
  });

  test("the chart has a bar for each peer and is well-formed", () => {
    const svg = chart(results(GOOD));
    expect(svg.match(/<rect [^>]*height="10" fill="#/g)?.length).toBe(6);
    expect(svg).toContain(">1.15</text>");
    expect(svg.trimEnd()).toEndWith("</svg>");
  });

  test("numbers are shown with the digits that count", () => {
    expect([1.234, 12.34, 123.4, 12_345, Number.NaN].map(show)).toEqual([
      "1.23",
      "12.3",
      "123",
      "12.3 k",
      "-",
    ]);
  });
});

describe("the baseline", () => {
  test("holds Proxima's ratios to those that cache, and no times", () => {
    expect(ratiosOf(results(GOOD))).toEqual({ "rate: h1-1kb / nginx": 1.15, "CPU: h1-1kb / nginx": 1 });
  });

  test("of a disturbed run only CPU is compared", () => {
    const noisy = GOOD.map((one) => ({
      ...one,
      samples: one.samples.map((each) => ({ ...each, foreign: 0.5 })),
    }));
    expect(ratiosOf(results(noisy))).toEqual({ "CPU: h1-1kb / nginx": 1 });
  });

  test("a fall of more than 15 % is warned of, a smaller one and a gain are not", () => {
    const found = falls({ a: 1, b: 1, c: 1, gone: 1 }, { a: 0.84, b: 0.86, c: 2 });
    expect(found).toEqual([{ name: "a", was: 1, is: 0.84 }]);
    expect(describeFalls(found)).toBe("warning: a fell from 1.00 to 0.840 (-16 %)");
    expect(compared({ a: 1, gone: 1 }, { a: 1 })).toBe(1);
  });
});

describe("what makes a cell void", () => {
  const caching = { peer: { caches: true } };
  const report = { requests: 1_000, requestsPerSecond: 1, p50Us: 1, p99Us: 1, failures: 0 };

  test("a hit that reached the origin", () => {
    expect(problemOf({ path: "/a" }, caching, report, 1)).toBe(
      "not cached: the origin was asked 1 times for 1000 requests",
    );
    expect(problemOf({ path: "/a" }, caching, report, 0)).toBeNull();
  });

  test("a miss that did not reach the origin", () => {
    expect(problemOf({ path: null }, caching, report, 900)).toStartWith("no misses");
    expect(problemOf({ path: null }, caching, report, 1_000)).toBeNull();
  });

  test("one failed request, and none at all", () => {
    expect(problemOf({ path: "/a" }, caching, { ...report, failures: 1 }, 0)).toBe(
      "1 of 1000 requests failed",
    );
    expect(problemOf({ path: "/a" }, caching, { ...report, requests: 0 }, 0)).toBe("no answers");
  });
});

describe("the workload", () => {
  test("every cell's path is one that the origin knows, with the length that the cell wants", () => {
    for (const { path, group, bodyBytes } of CELLS) {
      if (path === null) continue;
      const answer = wanted(path);
      expect(answer).not.toBeNull();
      if (group === "hits") expect(answer?.bytes).toBe(bodyBytes);
    }
  });

  test("the mix is the same each time, and one object in twenty may not be stored", () => {
    const [one, two] = [mixOf(500, 1_000), mixOf(500, 1_000)];
    expect(one.objects).toEqual(two.objects);
    expect(wanted(mixPath(one, 0))?.bytes).toBe(one.sizes[0] as number);
    const share = Array.from({ length: 10_000 }, (_, at) => at).filter(isUncacheable).length / 10_000;
    expect(share).toBeCloseTo(0.05, 2);
  });

  test("paths that do not exist have no answer", () => {
    for (const path of ["/", "/hit/x/a", "/hit/-1/a", "/other/1/a"]) expect(wanted(path)).toBeNull();
  });

  test("a quick run has every kind of cell", () => {
    expect(new Set(cellsOf(true).map(({ group }) => group))).toEqual(
      new Set(CELLS.map(({ group }) => group)),
    );
    expect(cellsOf(true).length).toBeLessThan(cellsOf(false).length);
  });
});

describe("the command line", () => {
  test("without arguments it is the whole run", () => {
    const options = parseOptions([], "/out");
    expect(options).toMatchObject({ command: "whole", out: "/out", measures: true, peers: null });
    expect(parseOptions(["--profile", "/p"], "/out").profile).toBe("/p");
    expect(parseOptions(["quick"], "/out").rounds).toBeLessThan(options.rounds);
  });

  test.each([
    [["--rounds", "0"], "--rounds 0: a whole number from 1 to 9999"],
    [["--rounds"], "--rounds needs a value"],
    [["quick", "check"], "quick and check do not go together"],
    [["--fast"], "there is no option --fast"],
    [["--variant", "log"], "--variant log: write NAME={...}"],
    [["--variant", "log=[1]"], "--variant log=[1]: write NAME={...}"],
  ])("%j is refused with a reason", (args, message) => {
    expect(() => parseOptions(args, "/out")).toThrow(message);
  });

  test("a variant's settings are merged over the shipped ones", () => {
    const { name, settings } = parseVariant('raw={"listen":{"raw":true}}');
    expect(name).toBe("proxima, raw");
    expect(merge({ listen: { http: ":80" }, workers: 1 }, settings)).toEqual({
      listen: { http: ":80", raw: true },
      workers: 1,
    });
  });
});

describe("what has to be installed", () => {
  test("each missing program is named with its package, each package once in the command", () => {
    const missing = missingPrograms([...TOOLS, PEER_PROGRAMS.nginx], (name) =>
      ["wrk", "taskset", "setpriv", "nginx"].includes(name) ? null : "/bin/x",
    );
    expect(describeMissing(missing)).toBe(
      "not installed: wrk (package wrk), taskset (package util-linux), setpriv (package util-linux), nginx (package nginx-light); on Debian: apt-get install --no-install-recommends wrk util-linux nginx-light",
    );
    expect(describeMissing([])).toBeNull();
  });

  test("a run without them starts nothing, says so and fails", async () => {
    const folder = mkdtempSync(join(tmpdir(), "proxima-bench-test-"));
    folders.push(folder);
    const child = Bun.spawn(
      [process.execPath, join(REPOSITORY, "bench", "compare.ts"), "quick", "--out", folder],
      {
        env: { ...process.env, PATH: folder },
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    const [err, out, status] = await Promise.all([
      new Response(child.stderr).text(),
      new Response(child.stdout).text(),
      child.exited,
    ]);
    expect(err).toContain("wrk (package wrk), h2load (package nghttp2-client)");
    expect(err).toContain("apt-get install --no-install-recommends wrk nghttp2-client");
    expect({ out, status }).toEqual({ out: "", status: 1 });
  });

  test("a check without results says what to run first", async () => {
    const folder = mkdtempSync(join(tmpdir(), "proxima-bench-test-"));
    folders.push(folder);
    const check = (...args: string[]) =>
      Bun.spawnSync([
        process.execPath,
        join(REPOSITORY, "bench", "compare.ts"),
        "check",
        "--out",
        folder,
        ...args,
      ]);
    const without = check();
    expect(without.exitCode).toBe(1);
    expect(without.stderr.toString()).toContain("run `npm run bench -- quick` first");
    // So far below the baseline that it must be warned of, whatever the baseline is.
    const slow = GOOD.map((one) =>
      one.peer === "proxima" ? { ...one, samples: [{ ...sample(1), cpuUs: 1_000 }] } : one,
    );
    writeFileSync(join(folder, "results.json"), JSON.stringify(results(slow)));
    const fallen = check("--strict");
    expect(fallen.stdout.toString()).toContain("warning: CPU: h1-1kb / nginx fell from ");
    expect(fallen.exitCode).toBe(1);
    expect(check().exitCode).toBe(0);
  });
});
