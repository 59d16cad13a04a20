import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ConfigReader, LoadResult } from "../../../src/config/config-reader.ts";
import { ConfigLoader } from "../../../src/config/load.ts";
import { fileProblem, type Problem } from "../../../src/config/problems.ts";
import type { Config } from "../../../src/config/schema.ts";
import { type ConfigHandlers, type ConfigWatch, watchConfig } from "../../../src/config/watch.ts";

let folder: string;
let watched: ConfigWatch | null = null;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "proxima-watch-"));
});
afterEach(async () => {
  watched?.close();
  watched = null;
  await rm(folder, { recursive: true, force: true });
});

const jsonWith = (host: string) =>
  JSON.stringify({ sites: { a: { hosts: [host], origins: { app: { url: "http://a.example" } } } } });

/** Handlers that keep what they are told as words, and wake who waits for the next one. */
function recorder() {
  const heard: string[] = [];
  let wake: () => void = () => {};
  const hear = (word: string) => {
    heard.push(word);
    wake();
  };
  const handlers: ConfigHandlers = {
    onConfig(config: Config) {
      hear(config.sites.a?.hosts.join() ?? "empty");
      return true;
    },
    onProblems: (problems: readonly Problem[]) => hear(`problem: ${problems[0]?.message}`),
  };
  const next = async (count: number) => {
    while (heard.length < count) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return heard;
  };
  return { heard, handlers, next };
}

test("a change is read; the same content again is not", async () => {
  const file = join(folder, "config.json");
  await writeFile(file, jsonWith("one.example"));
  const { heard, handlers } = recorder();
  watched = watchConfig(new ConfigLoader(file), handlers);
  await watched.check();
  expect(heard).toEqual([]);
  await writeFile(file, jsonWith("two.example"));
  await watched.check();
  await writeFile(file, jsonWith("two.example"));
  await watched.check();
  await watched.check();
  expect(heard).toEqual(["two.example"]);
});

test("a change is seen by itself, written in place or renamed over the file", async () => {
  const file = join(folder, "config.json");
  await writeFile(file, jsonWith("one.example"));
  const { handlers, next } = recorder();
  watched = watchConfig(new ConfigLoader(file), handlers);
  await writeFile(file, jsonWith("two.example"));
  expect(await next(1)).toEqual(["two.example"]);
  for (const [i, host] of ["three.example", "four.example"].entries()) {
    await writeFile(join(folder, ".config.json.tmp"), jsonWith(host));
    await rename(join(folder, ".config.json.tmp"), file);
    expect((await next(i + 2)).at(-1)).toBe(host);
  }
});

test("a change of what a link points to is seen, and so is a link that points elsewhere", async () => {
  await mkdir(join(folder, "versions"));
  const [one, two] = [join(folder, "versions/1.json"), join(folder, "versions/2.json")];
  await writeFile(one, jsonWith("one.example"));
  await writeFile(two, jsonWith("two.example"));
  const file = join(folder, "config.json");
  await symlink(one, file);
  const { handlers, next } = recorder();
  watched = watchConfig(new ConfigLoader(file), handlers);
  await writeFile(one, jsonWith("changed.example"));
  expect(await next(1)).toEqual(["changed.example"]);
  await symlink(two, join(folder, "link"));
  await rename(join(folder, "link"), file);
  expect((await next(2)).at(-1)).toBe("two.example");
});

test("an invalid config is told once, and a valid one after it is taken", async () => {
  const file = join(folder, "config.json");
  await writeFile(file, jsonWith("one.example"));
  const { heard, handlers } = recorder();
  watched = watchConfig(new ConfigLoader(file), handlers);
  await writeFile(file, "{");
  await watched.check();
  await watched.check();
  await rm(file);
  await watched.check();
  await watched.check();
  await writeFile(file, jsonWith("one.example"));
  await watched.check();
  expect(heard).toEqual([
    "problem: expected a name in double quotes; got the end of the file",
    "problem: there is no such file",
    "one.example",
  ]);
});

test("a file that a TypeScript config imports is watched as well", async () => {
  const file = join(folder, "config.ts");
  await writeFile(join(folder, "part.ts"), "export default ['one.example'];");
  await writeFile(
    file,
    `import hosts from "./part.ts";\nexport default { sites: { a: { hosts, origins: { app: { directory: "." } } } } };`,
  );
  const loader = new ConfigLoader(file);
  expect((await loader.load()).ok).toBe(true);
  const { handlers, next } = recorder();
  watched = watchConfig(loader, handlers);
  await writeFile(join(folder, "part.ts"), "export default ['two.example'];");
  expect(await next(1)).toEqual(["two.example"]);
});

test("a change between the first reading and the watch is not lost", async () => {
  const file = join(folder, "config.json");
  await writeFile(file, jsonWith("one.example"));
  const loader = new ConfigLoader(file);
  await loader.load();
  await writeFile(file, jsonWith("two.example"));
  const { handlers, next } = recorder();
  watched = watchConfig(loader, handlers);
  expect(await next(1)).toEqual(["two.example"]);
});

test("configs are handed over one after another, never two at once", async () => {
  const file = join(folder, "config.json");
  await writeFile(file, jsonWith("zero.example"));
  let running = 0;
  let most = 0;
  const seen: string[] = [];
  watched = watchConfig(new ConfigLoader(file), {
    async onConfig(config) {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      seen.push(config.sites.a?.hosts[0] ?? "");
      running--;
      return true;
    },
    onProblems() {},
  });
  const checks: Promise<void>[] = [];
  for (let i = 0; i < 5; i++) {
    await writeFile(file, jsonWith(`h${i}.example`));
    checks.push(watched.check());
  }
  await Promise.all(checks);
  expect(most).toBe(1);
  expect(seen.at(-1)).toBe("h4.example");
});

test("a handler that throws is told as a problem, and the watch goes on", async () => {
  const file = join(folder, "config.json");
  await writeFile(file, jsonWith("one.example"));
  const problems: string[] = [];
  watched = watchConfig(new ConfigLoader(file), {
    onConfig() {
      throw new Error("port in use");
    },
    onProblems(found) {
      problems.push(found[0]?.message ?? "");
      throw new Error("and the teller too");
    },
  });
  for (const host of ["two.example", "three.example"]) {
    await writeFile(file, jsonWith(host));
    await watched.check();
  }
  expect(problems).toEqual(["cannot be put in force: port in use", "cannot be put in force: port in use"]);
});

/** A reader whose readings come to these, one after another; what it reads never changes. */
function readerOf(file: string, results: readonly LoadResult[]): ConfigReader & { readings: number } {
  return {
    sources: [file],
    readings: 0,
    get missed() {
      return this.readings === 0 || results[this.readings - 1]?.ok === false;
    },
    async load() {
      return results[this.readings++] as LoadResult;
    },
    changed: async () => false,
    takeAsRead() {},
  };
}

test("a reading that came to nothing for no fault of the file is made up for when somebody asks, or by itself", async () => {
  const file = join(folder, "config.json");
  await writeFile(file, jsonWith("one.example"));
  const read = await new ConfigLoader(file).load();
  const missed: LoadResult = { ok: false, problems: [fileProblem("was not read")] };
  const asked = recorder();
  watched = watchConfig(readerOf(file, [missed, read]), asked.handlers, 60_000);
  await watched.check();
  await watched.check();
  await watched.check();
  expect(asked.heard).toEqual(["problem: was not read", "one.example"]);
  watched.close();
  const alone = recorder();
  watched = watchConfig(readerOf(file, [missed, missed, read]), alone.handlers, 1);
  await watched.check();
  expect(await alone.next(3)).toEqual(["problem: was not read", "problem: was not read", "one.example"]);
});

test("a config that was refused, or that its handler failed on, is handed over again when somebody asks", async () => {
  const file = join(folder, "config.json");
  await writeFile(file, jsonWith("one.example"));
  const { heard, handlers } = recorder();
  const answers: (() => boolean)[] = [
    () => false,
    () => {
      throw new Error("port in use");
    },
    () => true,
  ];
  watched = watchConfig(new ConfigLoader(file), {
    ...handlers,
    onConfig(config, warnings) {
      void handlers.onConfig(config, warnings);
      return answers.shift()?.() ?? false;
    },
  });
  await writeFile(file, jsonWith("two.example"));
  for (let i = 0; i < 5; i++) await watched.check();
  expect(heard).toEqual([
    "two.example",
    "two.example",
    "problem: cannot be put in force: port in use",
    "two.example",
  ]);
});

test("a reading that came to nothing is not repeated because something else in the folder is written", async () => {
  const file = join(folder, "config.json");
  await writeFile(file, jsonWith("one.example"));
  const missed: LoadResult = { ok: false, problems: [fileProblem("was not read")] };
  let wake: () => void = () => {};
  const look = () =>
    new Promise<void>((resolve) => {
      wake = resolve;
    });
  const reader = readerOf(
    file,
    Array.from({ length: 9 }, () => missed),
  );
  reader.changed = async () => {
    wake();
    return false;
  };
  watched = watchConfig(reader, recorder().handlers, 60_000);
  const first = look();
  await watched.check();
  // It looks once by itself after the start.
  await first;
  const second = look();
  await writeFile(join(folder, "access.log"), "a line\n");
  await second;
  expect(reader.readings).toBe(1);
});

test("nothing is told after it was closed, and a folder that is not there is no error", async () => {
  const file = join(folder, "config.json");
  await writeFile(file, jsonWith("one.example"));
  const { heard, handlers } = recorder();
  watched = watchConfig(new ConfigLoader(file), handlers);
  await writeFile(file, jsonWith("two.example"));
  const looking = watched.check();
  watched.close();
  await looking;
  await watched.check();
  expect(heard).toEqual([]);
  const nowhere = watchConfig(new ConfigLoader(join(folder, "no/such/folder.json")), handlers);
  await nowhere.check();
  nowhere.close();
  expect(heard).toEqual([]);
});
