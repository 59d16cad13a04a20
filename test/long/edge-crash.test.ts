/**
 * kill -9 of a whole edge, and of its workers, at any moment under mixed load: small and large bodies, ranges,
 * conditions, purges and invalidations. What is served is one version, whole, and none that a purge or an
 * invalidation had taken that was acknowledged before; what was on disk is found again.
 * EDGE_CRASH_CYCLES sets how often (default 100), EDGE_CRASH_SEED what happens.
 */
import { expect, test } from "bun:test";
import { cacheOf, DiskEdge, until } from "../kit/disk-edge.ts";
import { startOrigin } from "../kit/origin.ts";
import { childrenOf } from "../kit/processes.ts";
import { Programs } from "../kit/program.ts";
import type { RawAnswer } from "../kit/raw-viewer.ts";
import type { Ask } from "../kit/worker-viewer.ts";
import { type Item, items, Model } from "./edge-crash-model.ts";

const CYCLES = Number(process.env.EDGE_CRASH_CYCLES ?? 100);
const SEED = Number(process.env.EDGE_CRASH_SEED ?? 1);
const LOADS = 8;

/** Numbers below 1, the same for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Run {
  readonly all = new Programs();
  readonly model = new Model();
  readonly origin = startOrigin(this.model.origin);
  readonly random = randomOf(SEED);
  readonly edge = new DiskEdge(
    this.all,
    { main: { hosts: ["*"], origins: { app: { url: this.origin.url } }, behaviors: [{ path: "/*" }] } },
    "site.test",
    { cache: { memory: "16MiB", disk: { size: "4GiB" } } },
  );
  /** What is on disk, whole, and its version. */
  readonly stored = new Map<Item, number>();
  readonly counts = { requests: 0, purges: 0, invalidations: 0, found: 0, broken: 0, revived: 0 };
  /** A process has been killed: connections may break. */
  killing = false;

  below(count: number): number {
    return Math.floor(this.random() * count);
  }

  #pick(kind = ""): Item {
    const some = items.filter(({ path }) => path.includes(kind));
    return some[this.below(some.length)] as Item;
  }

  /** One exchange, held against the model; null when it broke, which only a kill may do. */
  async ask(
    item: Item,
    ask: Ask,
  ): Promise<{ readonly answer: RawAnswer; readonly version: number | null } | null> {
    const least = this.model.least(item);
    const name = `${ask.method ?? "GET"} ${JSON.stringify(ask.headers ?? {})}`;
    // A viewer in the middle of a version that is gone at the origin gets no byte of another.
    const answer = await this.#raw(item.path, ask, ({ head }) => !head.includes(`"${this.model.now(item)}"`));
    if (answer === null) return null;
    this.counts.requests++;
    return { answer, version: this.model.check(item, answer, least, name) };
  }

  async #raw(path: string, ask: Ask, mayBreak = (_answer: RawAnswer) => false): Promise<RawAnswer | null> {
    const answer = await this.edge.get(path, ask);
    // Its port may be another program's by now.
    if (this.edge.killed) return null;
    if (answer.whole) return answer;
    this.counts.broken++;
    if (!this.killing && !mayBreak(answer))
      this.model.wrong.push(`${path} broke although nothing was killed: ${answer.head}`);
    return null;
  }

  /** What every request may do to what is stored is not known any more. */
  #touch(touched: Iterable<Item>): void {
    for (const item of touched) this.stored.delete(item);
  }

  async #get(item: Item, ask: Ask): Promise<void> {
    const got = await this.ask(item, ask);
    // Anything but a hit may replace what is on disk.
    if (got === null || cacheOf(got.answer) !== "HIT") this.stored.delete(item);
  }

  async #purge(): Promise<void> {
    const item = this.#pick();
    const mode = this.below(3) === 0 ? "soft" : "hard";
    const url = (of: Item) => `http://site.test${of.path}`;
    const kinds = [
      { of: [item], body: { scope: "url", urls: [url(item)] } },
      { of: [item], body: { scope: "url", urls: [url(item)] } },
      { of: items.filter(({ tag }) => tag === item.tag), body: { scope: "tag", tags: [item.tag] } },
      {
        of: items.filter(({ path }) => path.startsWith(item.path)),
        body: { scope: "prefix", prefixes: [item.path] },
      },
      {
        of: items.filter(({ path }) => /^\/medium\/.*/.test(path)),
        body: { scope: "wildcard", patterns: ["/medium/*"] },
      },
      ...(this.below(6) === 0 ? [{ of: items, body: { scope: "everything" } }] : []),
    ];
    const kind = kinds[this.below(kinds.length)] as (typeof kinds)[number];
    this.#touch(kind.of);
    const versions = this.model.change(kind.of);
    await this.edge.purge({ ...kind.body, mode });
    this.model.taken(versions);
    this.counts.purges++;
  }

  async #invalidate(): Promise<void> {
    const item = this.#pick();
    const group = this.below(4) === 0;
    const touched = group ? items.filter((other) => other.group === item.group) : [item];
    this.#touch(touched);
    const path = group ? `/group/${item.group}` : item.path;
    const answer = await this.#raw(path, { method: "POST", headers: { "content-length": "0" } });
    if (answer === null || answer.status !== 200) {
      if (!this.killing) this.model.wrong.push(`POST ${path}: ${answer?.head}`);
      return;
    }
    const changed = JSON.parse(answer.body.toString()) as [number, number][];
    this.model.taken(new Map(changed.map(([index, version]) => [items[index] as Item, version])));
    this.counts.invalidations++;
  }

  /** One thing that a viewer or an operator does. */
  async act(): Promise<void> {
    const dice = this.below(100);
    if (dice < 45) return await this.#get(this.#pick("small"), {});
    if (dice < 53) return await this.#get(this.#pick("medium"), {});
    if (dice < 58) return await this.#get(this.#pick("large"), {});
    if (dice < 72) return await this.#range();
    if (dice < 80) {
      const item = this.#pick();
      return await this.#get(item, { headers: { "if-none-match": `"${this.model.now(item)}"` } });
    }
    if (dice < 83) return await this.#get(this.#pick(), { method: "HEAD" });
    if (dice < 91) return await this.#purge();
    if (dice < 97) return await this.#invalidate();
    const changed = this.#pick();
    this.model.change([changed]);
  }

  async #range(): Promise<void> {
    const item = this.#pick(this.below(3) === 0 ? "" : "large");
    const start = this.below(item.length);
    const end = Math.min(item.length - 1, start + this.below(600_000));
    const specs = [
      `${start}-${end}`,
      `${start}-`,
      `-${1 + this.below(item.length)}`,
      `${start}-${end},0-9,-5`,
    ];
    await this.#get(item, { headers: { range: `bytes=${specs[this.below(specs.length)]}` } });
  }

  /** Load until `stopped`; what breaks is asked again by the next one. */
  async load(stopped: () => boolean): Promise<void> {
    const one = async () => {
      while (!stopped()) {
        try {
          await this.act();
        } catch (error) {
          if (!this.killing) this.model.wrong.push(String(error));
          else await Bun.sleep(2);
        }
      }
    };
    await Promise.all(Array.from({ length: LOADS }, one));
  }

  /** Asks for everything once: what was stored is a hit of the same version, and what is a hit now was stored. */
  async findAll(what: string): Promise<void> {
    for (const item of items) {
      const got = await this.ask(item, {});
      if (got === null || got.version === null) continue;
      const version = this.stored.get(item);
      const hit = cacheOf(got.answer) === "HIT";
      if (version !== undefined && !(hit && got.version === version))
        this.model.wrong.push(`${what}: ${item.path} v${version} was on disk: ${got.answer.head}`);
      if (version !== undefined) this.counts.found++;
      if (hit) this.stored.set(item, got.version);
      else this.stored.delete(item);
    }
  }

  /** With nothing under way: what is a hit and written is on disk. */
  async rest(): Promise<void> {
    await this.findAll("at rest");
    for (const item of items) await until(`${item.path} is on disk`, () => this.edge.isOnDisk(item.path));
    await this.findAll("written");
  }
}

test(
  `${CYCLES} kills of an edge under load serve nothing torn, nothing that was taken, and lose nothing that was stored`,
  async () => {
    const run = new Run();
    const { edge, model, counts } = run;
    const startMs: number[] = [];
    try {
      for (let cycle = 0; cycle < CYCLES; cycle++) {
        startMs.push(await edge.start(1 + run.below(3)));
        run.killing = false;
        await run.findAll(`cycle ${cycle}`);
        counts.revived += await edge.metric("disk_revived_total");
        let stopped = false;
        const load = run.load(() => stopped);
        const runMs = 20 + run.below(500);
        await Bun.sleep(runMs);
        if (edge.workers > 1 && run.below(3) === 0) {
          // A worker alone, under load; what it was writing is not known.
          run.killing = true;
          const children = childrenOf(edge.program.pid);
          const victim = children[run.below(children.length)];
          if (victim !== undefined) process.kill(victim, "SIGKILL");
          await Bun.sleep(run.below(400));
        }
        if (run.below(3) === 0) {
          stopped = true;
          await load;
          if (!run.killing) await run.rest();
          run.killing = true;
          await edge.kill();
        } else {
          run.killing = true;
          await edge.kill();
          stopped = true;
          await load;
        }
        const said = edge.program.err.split("\n").filter((line) => /disk cache|bug/.test(line));
        expect({ cycle, said, wrong: model.wrong.slice(0, 3) }).toEqual({ cycle, said: [], wrong: [] });
      }
      startMs.sort((a, b) => a - b);
      const at = (share: number) => Math.round(startMs[Math.floor((startMs.length - 1) * share)] ?? 0);
      console.log(
        `${CYCLES} kills: ${JSON.stringify(counts)}; started in ${at(0.5)} ms (median), ${at(0.99)} ms (99 %), ${at(1)} ms (most)`,
      );
      expect(counts.found).toBeGreaterThan(CYCLES);
      expect(counts.revived).toBeGreaterThan(CYCLES);
    } finally {
      await run.all.stop();
      await run.origin.stop();
    }
  },
  60_000 + CYCLES * 10_000,
);
