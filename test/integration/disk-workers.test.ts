/** The disk of several workers: what was stored is found by all of them whoever was killed, what was taken stays away. */
import { describe, expect, test } from "bun:test";
import { cacheOf, DiskEdge, until } from "../kit/disk-edge.ts";
import { content } from "../kit/file-origin.ts";
import { text } from "../kit/origin.ts";
import { stage } from "../kit/stage.ts";

const { app, programs } = stage();
const KB = 1024;
const HOUR = { "cache-control": "max-age=3600" };

/** An origin whose answers are numbered by its `version`; `/large` in a path makes them too large for memory. */
function numbered(fields: (target: string) => Record<string, string> = () => ({})) {
  const state = { version: 1 };
  const origin = app((request, { target }) => {
    const tag = `"${state.version}"`;
    const headers = { ...HOUR, etag: tag, ...fields(target) };
    if (request.method === "POST") return text("done", fields(`POST ${target}`));
    if (request.headers.get("if-none-match") === tag) return new Response(null, { status: 304, headers });
    if (target.includes("/large"))
      return new Response(content(1_300 * KB, state.version), {
        headers: { ...headers, "content-type": "video/mp4" },
      });
    return text(`${target} v${state.version}`, headers);
  });
  return { origin, state };
}

const site = (url: string, host: string) => ({
  hosts: [host],
  origins: { app: { url } },
  behaviors: [{ path: "/*" }],
});

describe("what was stored", () => {
  const paths = [...Array.from({ length: 24 }, (_, i) => `/${i}`), "/large/a", "/large/b", "/large/c"];

  test("is a hit on every worker after an end, a kill, the kill of each worker, and with another number of them", async () => {
    const { origin } = numbered();
    const edge = new DiskEdge(programs(), { main: site(origin.url, "*") }, "site.test");
    await edge.start(2);
    const first = new Map<string, Buffer>();
    for (const path of paths) first.set(path, (await edge.get(path)).body);
    const small = paths.length - 3;
    await until("all is written", async () => (await edge.metric("disk_written_total")) === small);
    expect([0, 1].map((slot) => paths.some((path) => edge.ownerOf(path) === slot))).toEqual([true, true]);

    const everywhere = async (what: string) => {
      for (let slot = 0; slot < edge.workers; slot++) {
        const viewer = await edge.viewer(edge.pidOf(slot));
        for (const path of paths) {
          const answer = await viewer.ask(edge.host, path);
          expect([what, path, answer.status, cacheOf(answer)]).toEqual([what, path, 200, "HIT"]);
          expect(answer.body.equals(first.get(path) ?? Buffer.alloc(0))).toBe(true);
        }
      }
      expect([what, origin.count()]).toEqual([what, paths.length]);
    };
    await everywhere("while it runs");
    await edge.stop();
    await edge.start(2);
    await everywhere("after an end");
    await edge.kill();
    await edge.start(2);
    await everywhere("after a kill");
    for (const slot of [0, 1]) {
      await edge.killWorker(edge.pidOf(slot));
      // Slots by the age of their process: the one that was replaced is the youngest now.
      await everywhere(`after the kill of worker ${slot}`);
    }
    for (const workers of [1, 3]) {
      await edge.kill();
      await edge.start(workers);
      await everywhere(`with ${workers} workers`);
      expect(await edge.metric("disk_revived_total")).toBe(paths.length);
    }
    expect(edge.program.err).not.toContain("disk cache");
  }, 40_000);
});

describe("what was taken", () => {
  const scopes = {
    url: (path: string) => ({ scope: "url", urls: [`http://site.test${path}`] }),
    prefix: (path: string) => ({ scope: "prefix", prefixes: [path] }),
    wildcard: (path: string) => ({ scope: "wildcard", patterns: [`${path}*`] }),
    tag: (path: string) => ({ scope: "tag", tags: [path.slice(1).replaceAll("/", "-")] }),
    host: (path: string) => ({ scope: "host", hosts: [`${path.split("/")[1]}.host.test`] }),
    everything: () => ({ scope: "everything" }),
  };
  const modes = ["hard", "soft"] as const;

  test("by a purge of any scope or an invalidation, just before a kill, is not served after it", async () => {
    const fields = (target: string): Record<string, string> =>
      target.startsWith("POST /group")
        ? { "cache-group-invalidation": '"news"' }
        : target.startsWith("/group")
          ? { "cache-groups": '"news"' }
          : { "surrogate-key": target.split("?")[0]?.slice(1).replaceAll("/", "-") ?? "" };
    const { origin, state } = numbered(fields);
    const url = origin.url;
    const edge = new DiskEdge(
      programs(),
      {
        main: site(url, "*"),
        "everything-hard": site(url, "everything-hard.test"),
        "everything-soft": site(url, "everything-soft.test"),
      },
      "site.test",
    );
    await edge.start(2);
    const names = Object.keys(scopes) as (keyof typeof scopes)[];
    /** Each is purged in its own way; where it is, and how. Some are of each worker. */
    const purged = names.flatMap((scope) =>
      modes.flatMap((mode) =>
        ["", "/x", "/y/large"].map((rest) => {
          const path = `/${scope}${mode}`;
          const name = scope === "everything" ? `everything-${mode}` : "main";
          const host =
            scope === "host"
              ? `host${mode}.host.test`
              : scope === "everything"
                ? `${name}.test`
                : "site.test";
          // The others name one object each.
          const one = scope === "url" || scope === "tag" ? `${path}${rest}` : path;
          return { site: name, scope, mode, host, path: `${path}${rest}`, one };
        }),
      ),
    );
    const kept = ["/kept/1", "/kept/2", "/kept/3", "/kept/large"];
    const invalidated = ["/inv/1", "/inv/2", "/inv/large", "/group/1", "/group/2", "/group/large"];

    for (const [round, kill] of (
      [
        ["the program", () => edge.kill().then(() => edge.start(2))],
        ["worker 0", () => edge.killWorker(edge.pidOf(0))],
        ["worker 1", () => edge.killWorker(edge.pidOf(1))],
      ] as const
    ).entries()) {
      const [what, act] = kill;
      const all = [
        ...purged.map(({ host, path }) => ({ host, path })),
        ...[...kept, ...invalidated].map((path) => ({ host: "site.test", path })),
      ];
      // What is not of this round's version yet goes first.
      if (round > 0)
        for (const name of ["main", "everything-hard", "everything-soft"])
          await edge.purge({ site: name, scope: "everything" });
      for (const ask of all) await edge.get(ask.path, ask);
      const version = state.version;
      await until("all is written", async () => {
        const pages = await Promise.all(all.map((ask) => edge.get(ask.path, ask)));
        return pages.every((answer) => cacheOf(answer) === "HIT" && bodyVersion(answer.body) === version);
      });
      const small = all.filter(({ path }) => !path.includes("/large")).length;
      const expected = small;
      await until(
        "all is on disk",
        async () => (await edge.metric("disk_objects")) >= expected + all.length - small,
      );

      state.version++;
      for (const [scope, targets] of Object.entries(scopes))
        for (const mode of modes) {
          const mine = purged.filter((one) => one.scope === scope && one.mode === mode);
          const bodies = [...new Set(mine.map(({ one }) => one))].map((one) => targets(one));
          for (const body of bodies) await edge.purge({ site: mine[0]?.site, ...body, mode });
        }
      for (const path of invalidated.filter((one) => one.startsWith("/inv")))
        expect((await edge.get(path, { method: "POST", headers: { "content-length": "0" } })).status).toBe(
          200,
        );
      await edge.get("/group/post", { method: "POST", headers: { "content-length": "0" } });
      await act();

      for (const { host, path, mode, scope } of purged) {
        const answer = await edge.get(path, { host });
        expect([what, scope, mode, path, bodyVersion(answer.body)]).toEqual([
          what,
          scope,
          mode,
          path,
          version + 1,
        ]);
        expect([what, scope, path, cacheOf(answer)]).toEqual([
          what,
          scope,
          path,
          mode === "hard" ? "MISS" : "EXPIRED",
        ]);
      }
      for (const path of invalidated) {
        const answer = await edge.get(path);
        expect([what, path, bodyVersion(answer.body), cacheOf(answer)]).toEqual([
          what,
          path,
          version + 1,
          "MISS",
        ]);
      }
      for (const path of kept) {
        const answer = await edge.get(path);
        expect([what, path, bodyVersion(answer.body), cacheOf(answer)]).toEqual([what, path, version, "HIT"]);
      }
    }
  }, 60_000);

  test("by an unsafe request while the owner of its URL was being replaced does not come back with the successor", async () => {
    const { origin, state } = numbered();
    const edge = new DiskEdge(programs(), { main: site(origin.url, "*") }, "site.test");
    await edge.start(2);
    for (const slot of [0, 1]) {
      const [owner, other] = [edge.pidOf(slot), edge.pidOf(1 - slot)];
      const paths = Array.from({ length: 60 }, (_, i) => `/p/${slot}/${i}`)
        .filter((path) => edge.ownerOf(path) === slot)
        .slice(0, 6);
      const before = await edge.metric("disk_written_total");
      for (const path of paths) await edge.get(path);
      await until(
        "all is written",
        async () => (await edge.metric("disk_written_total")) === before + paths.length,
      );
      const viewer = await edge.viewer(other);
      process.kill(owner, "SIGKILL");
      state.version++;
      // Some at once, when the others may not have heard of the death yet; all before a successor can be there.
      for (const path of paths) {
        const done = await viewer.ask(edge.host, path, {
          method: "POST",
          headers: { "content-length": "0" },
        });
        expect([done.status, done.body.toString()]).toEqual([200, "done"]);
      }
      await edge.whole([owner]);
      for (const path of paths) {
        const answer = await edge.get(path);
        expect([path, answer.body.toString()]).toEqual([path, `${path} v${state.version}`]);
      }
    }
  }, 20_000);
});

/** Version of a body of `numbered`. */
function bodyVersion(body: Buffer): number {
  if (body.byteLength < 1_000) return Number(/ v(\d+)$/.exec(body.toString())?.[1]);
  const version = (body.readUInt32LE(0) ^ 2_654_435_761) >>> 0;
  return body.equals(content(body.byteLength, version)) ? version : Number.NaN;
}
