/** A config that a process of its own reads: what it comes to is what it would be here, whatever becomes of that process. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VERSION } from "../../../src/cli/version.ts";
import { ConfigLoader } from "../../../src/config/load.ts";
import { READING_COMMAND } from "../../../src/config/reading/command.ts";
import { ConfigProcess } from "../../../src/config/reading/config-process.ts";
import { FILE_BYTES_MAX, Sources } from "../../../src/config/sources.ts";
import { childrenOf, isRunning } from "../../kit/processes.ts";

const MAIN = join(import.meta.dir, "../../../src/main.ts");
const READER = [process.execPath, "--no-install", "--no-orphans", MAIN, READING_COMMAND];
const COMMAND = [...READER, VERSION];
/** A site's own fields beside these are defaults. */
const SITE = { hosts: ["a.example"], origins: { app: { url: "http://a.example" } } };

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "proxima-reading-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function put(name: string, text: string): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, text);
  return file;
}

const configOf = () => JSON.stringify({ sites: { a: SITE } });

/** Programs that do not read as they should. */
const script = (text: string): string[] => [process.execPath, "--no-install", "-e", text];

describe("a config that another process reads", () => {
  const configs: Readonly<Record<string, string>> = {
    "plain.json": JSON.stringify({ sites: { a: SITE } }),
    "empty.json": JSON.stringify({ sites: {} }),
    "many.json": JSON.stringify({
      listen: { http: ":0" },
      cache: { memory: "1GiB", disk: { size: "10GiB" } },
      accessLog: { file: "log/access" },
      sites: Object.fromEntries(
        Array.from({ length: 400 }, (_, i) => [`s${i}`, { ...SITE, hosts: [`s${i}.example`] }]),
      ),
    }),
    "short.yaml": "sites: { a: { hosts: [a.example], origins: { docs: { directory: ./public } } } }",
    "module.ts": `import { sites } from "./part/sites.ts";\nexport default { sites };`,
    "wrong.json": `{\n  "sites": { "a": { "hosts": ["a.example"], "origin": {} } },\n  "workers": 0\n}`,
    "broken.json": `{ "sites": `,
    "warned.json": JSON.stringify({
      sites: { a: { ...SITE, origins: { ...SITE.origins, spare: { url: "http://b.example" } } } },
    }),
    "config.toml": "",
  };
  for (const [name, text] of Object.entries(configs))
    test(`comes to the same: ${name}`, async () => {
      await mkdir(join(folder, "part"), { recursive: true });
      await put("part/sites.ts", `export const sites = ${JSON.stringify({ a: SITE })};`);
      const file = await put(name, text);
      const [here, there] = [new ConfigLoader(file), new ConfigProcess(file, COMMAND)];
      const [expected, result] = [await here.load(), await there.load()];
      expect(result).toStrictEqual(expected);
      if (expected.ok && result.ok)
        expect(Object.keys(result.config.sites)).toEqual(Object.keys(expected.config.sites));
      expect([...there.sources].sort()).toEqual([...here.sources].sort());
      expect(await there.changed()).toBe(false);
    });

  test("says so when there is no such file", async () => {
    const file = join(folder, "nowhere.json");
    expect(await new ConfigProcess(file, COMMAND).load()).toStrictEqual(await new ConfigLoader(file).load());
  });

  test("keeps sites that did not change the same objects, and takes those that did", async () => {
    const config = (host: string) =>
      JSON.stringify({
        sites: { a: SITE, b: { ...SITE, hosts: [host] }, c: { ...SITE, hosts: ["c.example"] } },
      });
    const file = await put("again.json", config("b.example"));
    const reader = new ConfigProcess(file, COMMAND);
    const first = await reader.load();
    await put("again.json", config("b2.example"));
    expect(await reader.changed()).toBe(true);
    const second = await reader.load();
    if (!first.ok || !second.ok) throw new Error("it is valid");
    expect(second.config.sites.a).toBe(first.config.sites.a as never);
    expect(second.config.sites.c).toBe(first.config.sites.c as never);
    expect(second.config.sites.b?.hosts).toEqual(["b2.example"]);
    expect(await reader.changed()).toBe(false);
  });

  test("that fails half-way is made from what it was made from before: the repair of an import is a change", async () => {
    await mkdir(join(folder, "import"), { recursive: true });
    await put("import/hosts.ts", `export default ["a.example"];`);
    const file = await put(
      "importing.ts",
      `import hosts from "./import/hosts.ts";\nexport default { sites: { a: { hosts, origins: { app: { directory: "." } } } } };`,
    );
    const reader = new ConfigProcess(file, COMMAND);
    expect((await reader.load()).ok).toBe(true);
    const sources = [...reader.sources].sort();
    expect(sources).toHaveLength(2);
    await put("import/hosts.ts", "process.exit(1);");
    expect((await reader.load()).ok).toBe(false);
    expect([...reader.sources].sort()).toEqual(sources);
    expect(await reader.changed()).toBe(false);
    await put("import/hosts.ts", `export default ["b.example"];`);
    expect(await reader.changed()).toBe(true);
  });

  test("that is a pipe holds nobody up, and what is too large is not read to see a change", async () => {
    const pipe = join(folder, "pipe.json");
    expect(Bun.spawnSync(["mkfifo", pipe]).exitCode).toBe(0);
    for (const reader of [new ConfigProcess(pipe, COMMAND), new ConfigLoader(pipe)]) {
      const result = await reader.load();
      expect(result.ok ? [] : result.problems.map(({ message }) => message)).toEqual(["is not a file"]);
      expect(await reader.changed()).toBe(false);
    }
    const large = await put("large.json", "");
    await truncate(large, FILE_BYTES_MAX + 1);
    for (const file of [pipe, large]) {
      const sources = new Sources(file);
      sources.takeAsRead();
      expect(await sources.changed()).toBe(false);
      await rm(file);
      expect(await sources.changed()).toBe(true);
    }
  });
});

test("a file that was written while it was read for the first time has changed", async () => {
  const file = await put("sources.ts", "");
  const part = await put("sources-part.ts", "");
  const sources = new Sources(file);
  const found = async () => ({ result: null, files: [file, part] });
  await utimes(part, new Date(), new Date(Date.now() + 60_000));
  await sources.read(found);
  expect(await sources.changed()).toBe(true);
  // What it holds is known by the second reading, whatever its date.
  await sources.read(found);
  expect(await sources.changed()).toBe(false);
});

describe("a process that reads a config", () => {
  test("of another version reads nothing", async () => {
    const file = await put("edge.json", configOf());
    const reader = new ConfigProcess(file, [...READER, `${VERSION}-next`]);
    const result = await reader.load();
    expect(result.ok ? [] : result.problems.map(({ message }) => message)).toEqual([
      "was not read: the program was replaced by another version; start the edge again",
    ]);
    expect(reader.missed).toBe(true);
  });

  test("sees the environment of the edge, and no .env that came later", async () => {
    const place = await mkdtemp(join(folder, "place-"));
    await writeFile(join(place, ".env"), "PROXIMA_TEST_LATER=later\n");
    await writeFile(
      join(place, "edge.ts"),
      `console.error("saw", process.env.PROXIMA_TEST_LATER, process.env.PROXIMA_TEST_OWN);\nexport default {};`,
    );
    const edge = Bun.spawn(
      [process.execPath, "--no-install", "--no-env-file", MAIN, "edge", "--config", "edge.ts"],
      {
        cwd: place,
        env: { ...process.env, PROXIMA_TEST_OWN: "own" },
        stdio: ["ignore", "ignore", "pipe"],
      },
    );
    expect(await new Response(edge.stderr).text()).toContain("saw undefined own\n");
    // It names no address to listen on.
    expect(await edge.exited).toBe(2);
  });

  test("is no command for people, and says so", async () => {
    const child = Bun.spawn([...COMMAND, await put("edge.json", configOf())], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    expect(await new Response(child.stderr).text()).toBe(
      "proxima: a config is read so by a running edge only\n",
    );
    expect(await child.exited).toBe(2);
  });

  test("ends with the edge that asked, however that ends", async () => {
    const slow = await put(
      "slow.ts",
      "await new Promise((resolve) => setTimeout(resolve, 9_000));\nexport default {};",
    );
    const edge = Bun.spawn([process.execPath, "--no-install", MAIN, "edge", "--config", slow], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    const reading = async (): Promise<number> => {
      for (;;) {
        const [pid] = childrenOf(edge.pid);
        if (pid !== undefined && childrenOf(pid).length > 0) return pid;
        await Bun.sleep(5);
      }
    };
    const pid = await reading();
    const [evaluation = 0] = childrenOf(pid);
    // Where memory runs out, both go before the edge does.
    for (const one of [pid, evaluation])
      expect(readFileSync(`/proc/${one}/oom_score_adj`, "utf8").trim()).toBe("1000");
    edge.kill("SIGKILL");
    await edge.exited;
    while (isRunning(pid) || isRunning(evaluation)) await Bun.sleep(5);
  });

  const ends: Readonly<
    Record<string, { readonly command: readonly string[]; readonly told: RegExp; readonly ms?: number }>
  > = {
    "ends instead": { command: script("process.exit(3)"), told: /was not read: .* ended \(status 3\)/ },
    "is killed": { command: script("process.kill(process.pid, 'SIGKILL')"), told: /ended \(SIGKILL\)/ },
    "never answers": {
      command: script("setInterval(() => {}, 1000)"),
      told: /was not read within 0.5 s/,
      ms: 500,
    },
    "ends half-way": {
      command: script(
        `process.send({ kind: "sites", sites: [["a", "x", "{}"]] }); process.on("message", () => process.exit(0));`,
      ),
      told: /ended \(status 0\)/,
    },
    "sends what is no config": {
      command: script(
        `process.send({ kind: "config", node: "{", warnings: [], files: [] }); setInterval(() => {}, 1000)`,
      ),
      told: /cannot be taken from the process that reads it/,
    },
    "can not be started": {
      command: [join(tmpdir(), "proxima-no-such-program")],
      told: /cannot be read in a process of its own/,
    },
  };
  for (const [how, { command, told, ms }] of Object.entries(ends))
    test(`and ${how} is told of, and leaves nothing running`, async () => {
      const file = await put("edge.json", configOf());
      const before = childrenOf(process.pid);
      const reader = new ConfigProcess(file, command, ms);
      const result = await reader.load();
      expect(result.ok).toBe(false);
      if (!result.ok) expect(result.problems.map(({ message }) => message).join()).toMatch(told);
      expect(childrenOf(process.pid)).toEqual(before);
      // What it was made from is still watched.
      expect(reader.sources).toEqual([file]);
      // The file is not to blame: it may be read as it is, but only when somebody asks.
      expect([reader.missed, await reader.changed()]).toEqual([true, false]);
    });
});
