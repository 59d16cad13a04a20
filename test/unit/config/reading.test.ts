/** A config that a process of its own reads: what it comes to is what it would be here, whatever becomes of that process. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigLoader } from "../../../src/config/load.ts";
import { READING_COMMAND } from "../../../src/config/reading/command.ts";
import { ConfigProcess } from "../../../src/config/reading/config-process.ts";
import { childrenOf, isRunning } from "../../kit/processes.ts";

const MAIN = join(import.meta.dir, "../../../src/main.ts");
const COMMAND = [process.execPath, "--no-install", "--no-orphans", MAIN, READING_COMMAND];
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
});

describe("a process that reads a config", () => {
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
    });
});
