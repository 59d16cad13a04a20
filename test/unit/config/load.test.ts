import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmod, mkdir, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { evaluateConfig } from "../../../src/config/evaluate.ts";
import { scanJson } from "../../../src/config/json-text.ts";
import { ConfigLoader, loadConfig } from "../../../src/config/load.ts";
import { formatProblems } from "../../../src/config/problems.ts";
import type { Config } from "../../../src/config/schema.ts";
import { FILE_BYTES_MAX } from "../../../src/config/sources.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "proxima-config-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function put(name: string, text: string): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, text);
  return file;
}
async function load(name: string, text: string, env?: Record<string, string>): Promise<Config> {
  const file = await put(name, text);
  const result = await loadConfig(file, env);
  if (!result.ok) throw new Error(formatProblems(file, result.problems));
  return result.config;
}
/** What a person reads about the file, its folder left out. */
async function told(name: string, text: string): Promise<string[]> {
  const file = await put(name, text);
  return toldOf(file);
}
async function toldOf(file: string): Promise<string[]> {
  const result = await loadConfig(file);
  const lines = formatProblems(file, result.ok ? result.warnings : result.problems).split("\n");
  return lines.map((line) => line.replaceAll(`${folder}/`, ""));
}

const SITE = `{ hosts: ["a.example"], origins: { app: { url: "http://a.example" } } }`;

describe("a config in YAML", () => {
  test("is read, with anchors and merged maps", async () => {
    const merged = await load(
      "merged.yml",
      `sites:
  a: &a
    hosts: [a.example]
    http3: false
    origins: { app: { url: "http://app.example" } }
  b:
    <<: *a
    hosts: [b.example]
`,
    );
    expect(merged.sites.b).toMatchObject({ hosts: ["b.example"], http3: false });
  });

  test("has problems with line and column of what is wrong", async () => {
    const text = `listen:
  http: ":8080"
sites:
  shop:
    hosts:
      - shop.example
      - "bad host"
    origins:
      app: { url: "http://app.example" }
    behaviors:
      - path: /*
        orgin: app
      - path: /x
        compress: maybe
`;
    expect(await told("places.yaml", text)).toEqual([
      expect.stringMatching(
        /^places\.yaml:7:9: sites\.shop\.hosts\[1\]: expected a host name .*; got "bad host"$/,
      ),
      'places.yaml:12:9: sites.shop.behaviors[0].orgin: unknown setting "orgin"; did you mean "origin"?',
      'places.yaml:14:19: sites.shop.behaviors[1].compress: expected true or false; got "maybe"',
    ]);
  });

  test("that misses a setting is pointed at where it should stand", async () => {
    expect(await told("missing.yaml", "sites:\n  shop:\n    hosts: [a.example]\n")).toEqual([
      expect.stringMatching(/^missing\.yaml:2:3: sites\.shop\.origins: is missing; expected /),
    ]);
  });

  test("with a syntax error, a name that stands twice or an unknown tag is refused there", async () => {
    expect((await told("syntax.yaml", "sites:\n  a: [1,\n"))[0]).toStartWith("syntax.yaml:");
    expect((await told("twice.yaml", "sites: {}\nsites: {}\n"))[0]).toMatch(/^twice\.yaml:2:1: .*unique/);
    expect((await told("tag.yaml", "sites: !secret x\n"))[0]).toMatch(/^tag\.yaml:1:8: /);
  });

  test("whose aliases multiply without end is refused", async () => {
    let bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
    for (let i = 1; i < 9; i++)
      bomb += `a${i}: &a${i} [${Array(10)
        .fill(`*a${i - 1}`)
        .join(",")}]\n`;
    expect(await told("bomb.yaml", bomb)).toEqual([
      "bomb.yaml: its aliases (*name) are unresolved or too many",
    ]);
  });

  test("nested without end is refused", async () => {
    expect((await told("deep.yaml", "[".repeat(50_000)))[0]).toStartWith("deep.yaml");
  });
});

describe("a config in JSON", () => {
  test("has problems with line and column of what is wrong", async () => {
    const text = `{
  "sites": {
    "shop": {
      "hosts": ["shop.example", "bad host"],
      "orgins": {},
      "origins": { "app": { "url": "ftp://x" } }
    }
  }
}`;
    expect(await told("places.json", text)).toEqual([
      expect.stringMatching(/^places\.json:4:33: sites\.shop\.hosts\[1\]: /),
      expect.stringMatching(/^places\.json:6:36: sites\.shop\.origins\.app\.url: /),
      'places.json:5:7: sites.shop.orgins: unknown setting "orgins"; did you mean "origins"?',
    ]);
  });

  test("has warnings with line and column", async () => {
    const text = `{"sites": {"a": {"hosts": ["a.example"],
 "origins": {"app": {"url": "http://a"}}, "behaviors": [{"path": "/*",
   "storeSetCookie": true}]}}}`;
    expect((await told("warning.json", text))[0]).toStartWith(
      "warning.json:3:22: warning: sites.a.behaviors[0].storeSetCookie: ",
    );
  });

  test("with a syntax error is refused at its place", async () => {
    const texts: [string, string][] = [
      ["", "1:1: expected a value; got the end of the file"],
      ["{", "1:2: expected a name in double quotes; got the end of the file"],
      ['{"a": 1,}', '1:9: expected no "," before "}"'],
      ['{\n "a" 1}', '2:6: expected ":" after the name; got "1"'],
      ["{a: 1}", '1:2: expected a name in double quotes; got "a"'],
      ["[1 2]", '1:4: expected "," or "]"; got "2"'],
      ["{} x", '1:4: expected the end of the file; got "x"'],
      ['{"a": tru}', '1:7: expected a value; got "t"'],
      ['{"a": "x\ny"}', "1:7: has a text that does not end, or holds a line break or a bad escape"],
      ['{"a": 1, "a": 2}', '1:10: the name "a" stands twice in one object'],
      ["[".repeat(1000), "1:201: nests deeper than 200 levels"],
    ];
    for (const [text, message] of texts)
      expect(await told("syntax.json", text)).toEqual([`syntax.json:${message}`]);
  });

  test("is refused exactly when JSON.parse refuses it, for any text", () => {
    const scan = (text: string) => {
      for (const steps = scanJson(text); ; ) {
        const step = steps.next();
        if (step.done) return step.value.fault;
      }
    };
    const parses = (text: string) => {
      try {
        JSON.parse(text);
        return true;
      } catch {
        return false;
      }
    };
    const mutated = fc.tuple(
      fc.json({ maxDepth: 3 }),
      fc.nat(),
      fc.constantFrom("", ",", "]", "}", '"', ":", "0", "-", "\\", "e", "\n", "\u0001"),
    );
    fc.assert(
      fc.property(mutated, ([json, place, piece]) => {
        const at = place % (json.length + 1);
        const text = json.slice(0, at) + piece + json.slice(at + (piece === "" ? 1 : 0));
        const fault = scan(text);
        if (fault?.message.includes("stands twice")) return;
        expect({ text, ok: fault === null }).toEqual({ text, ok: parses(text) });
      }),
      { numRuns: 2000 },
    );
  });
});

describe("a config in TypeScript", () => {
  test("is evaluated, with defineConfig, types, imports and the environment", async () => {
    await put("part.ts", "export const http3: boolean = false;");
    const config = await load(
      "good.ts",
      `import { defineConfig, type ConfigInput } from "proxima-cdn";
import { http3 } from "./part.ts";
const origins: ConfigInput["sites"][string]["origins"] = { app: { url: process.env.APP_URL ?? "" } };
export default defineConfig({ sites: { shop: { hosts: ["a.example"], origins, http3 } } });
`,
      { APP_URL: "http://from-env.example" },
    );
    expect(config.sites.shop).toMatchObject({
      http3: false,
      origins: { app: { url: "http://from-env.example" } },
    });
  });

  test("is evaluated anew each time, imports included", async () => {
    await put("fresh-part.ts", "export const host = 'one.example';");
    const file = await put(
      "fresh.ts",
      `import { host } from "./fresh-part.ts";\nexport default { sites: { a: { ...${SITE}, hosts: [host] } } };`,
    );
    const loader = new ConfigLoader(file);
    const hosts = async () => {
      const result = await loader.load();
      return result.ok ? result.config.sites.a?.hosts : result.problems;
    };
    expect(await hosts()).toEqual(["one.example"]);
    await put("fresh-part.ts", "export const host = 'two.example';");
    expect(await loader.changed()).toBe(true);
    expect(await hosts()).toEqual(["two.example"]);
    expect(loader.sources.map((source) => source.replace(`${folder}/`, ""))).toEqual([
      "fresh.ts",
      "fresh-part.ts",
    ]);
  });

  test("sees the program's environment only, no .env beside it", async () => {
    await put(".env", "FROM_DOTENV=1\n");
    const config = await load(
      "env.ts",
      `export default { dataDir: process.env.FROM_DOTENV ?? "unset", sites: {} };`,
      {},
    );
    expect(config.dataDir).toBe(join(folder, "unset"));
  });

  test("that keeps timers running is done all the same", async () => {
    const config = await load(
      "timer.ts",
      `setInterval(() => {}, 1000);\nexport default { sites: { a: ${SITE} } };`,
    );
    expect(Object.keys(config.sites)).toEqual(["a"]);
  });

  test("with a syntax error, a throw or a missing import says where", async () => {
    expect(await told("syntax.ts", "export default {\n  sites: { a b },\n};\n")).toEqual([
      'syntax.ts:2:14: Expected "}" but found "b"',
      expect.stringMatching(/^syntax\.ts:2:17: /),
      expect.stringMatching(/^syntax\.ts:3:1: /),
    ]);
    expect(
      await told(
        "throws.ts",
        'type A = 1;\n\nfunction f() {\n  throw new Error("APP_URL is not set");\n}\nf();\nexport default {};\n',
      ),
    ).toEqual([expect.stringMatching(/^throws\.ts:4:\d+: threw: APP_URL is not set$/)]);
    expect((await told("import.ts", 'import "./nowhere.ts";\nexport default {};\n'))[0]).toMatch(
      /^import\.ts.*nowhere\.ts/,
    );
    await put("inner.ts", "export const x = 1;\nthrow new Error('inside');");
    expect(await told("outer.ts", 'import "./inner.ts";\nexport default {};\n')).toEqual([
      expect.stringMatching(/^outer\.ts: threw: inside \(at inner\.ts:2\)$/),
    ]);
  });

  test("must export plain data", async () => {
    const files: [string, string][] = [
      ["export const a = 1;", "default export must be an object"],
      ["export default () => ({});", "it is a function"],
      ["export default [];", "it is a list"],
      ["export default { sites: { a: { hosts: [() => 1] } } };", "sites.a.hosts[0] is a function"],
      ["export default { dataDir: new Date(0) };", "dataDir is a Date"],
      ["export default { sites: new Map() };", "sites is a Map"],
      ["export default { limits: { drainSeconds: 1 / 0 } };", "limits.drainSeconds is Infinity"],
      ["export default { limits: { drainSeconds: 1n } };", "limits.drainSeconds is a bigint"],
      ["const a = {}; a.a = a; export default a;", "a holds itself"],
      ["process.exit(3);", "ended the process (status 3)"],
    ];
    for (const [i, [text, message]] of files.entries())
      expect((await told(`data-${i}.js`, text))[0]).toContain(message);
  });

  test("that does not end is ended", async () => {
    const file = await put("endless.ts", "for (;;) {}\nexport default {};");
    const result = await evaluateConfig(file, process.env, 300);
    expect(result).toMatchObject({
      ok: false,
      problems: [{ message: "its evaluation took longer than 0.3 s" }],
    });
  });

  test("may be large", async () => {
    const sites = Object.fromEntries(
      Array.from({ length: 3000 }, (_, i) => [
        `s${i}`,
        { hosts: [`h${i}.example`], origins: { app: { url: "http://a.example" } } },
      ]),
    );
    const config = await load("large.ts", `export default ${JSON.stringify({ sites })};`);
    expect(Object.keys(config.sites)).toHaveLength(3000);
  });
});

describe("a config file", () => {
  test("that is not there, not readable, not a file or of another kind is refused in one sentence", async () => {
    expect(await toldOf(join(folder, "nowhere.yaml"))).toEqual(["nowhere.yaml: there is no such file"]);
    expect(await toldOf(join(folder, "nowhere.ts"))).toEqual(["nowhere.ts: there is no such file"]);
    await mkdir(join(folder, "folder.json"));
    expect(await toldOf(join(folder, "folder.json"))).toEqual(["folder.json: is not a file"]);
    expect((await told("config.toml", ""))[0]).toContain(
      "ends in .ts, .mts, .js, .mjs, .json, .yaml or .yml; this one ends in .toml",
    );
    expect((await told("config", ""))[0]).toContain("this one has no extension");
    const latin = join(folder, "latin.json");
    await writeFile(latin, Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d));
    expect(await toldOf(latin)).toEqual(["latin.json: is not a text in UTF-8"]);
  });

  // The administrator may read every file.
  test.skipIf(process.getuid?.() === 0)("that this user may not read is refused", async () => {
    const file = await put("secret.json", "{}");
    await chmod(file, 0);
    expect(await toldOf(file)).toEqual(["secret.json: may not be read by this user"]);
  });

  test("that is too large is refused unread", async () => {
    const file = await put("huge.json", "{}");
    await truncate(file, FILE_BYTES_MAX + 1);
    expect(await toldOf(file)).toEqual(["huge.json: is 64MiB long; at most 64MiB are allowed"]);
  });

  test("may begin with a byte order mark and name its schema", async () => {
    const config = await load("bom.json", '\ufeff{"$schema": "./proxima.schema.json", "sites": {}}');
    expect("$schema" in config).toBe(false);
  });

  test("has its relative paths start at its own folder", async () => {
    const config = await load(
      "paths.json",
      JSON.stringify({
        dataDir: "data",
        accessLog: { file: "log/access.jsonl" },
        listen: { tls: { certificates: [{ cert: "tls/c.pem", key: "/abs/k.pem" }] } },
        permitted: { directories: ["."] },
        sites: {
          a: {
            hosts: ["a.example"],
            origins: {
              app: { url: "https://a.example", tls: { caFile: "ca.pem" } },
              files: { directory: "../public" },
            },
            behaviors: [
              { path: "/files/*", origin: "files" },
              { path: "/*", origin: "app" },
            ],
          },
        },
      }).replace("../public", "./public"),
    );
    expect(config.dataDir).toBe(join(folder, "data"));
    expect(config.accessLog?.file).toBe(join(folder, "log/access.jsonl"));
    expect(config.listen.tls.certificates[0]).toEqual({ cert: join(folder, "tls/c.pem"), key: "/abs/k.pem" });
    expect(config.permitted?.directories).toEqual([folder]);
    expect(config.sites.a?.origins.app).toMatchObject({
      tls: { caFile: join(folder, "ca.pem"), verify: true },
    });
    expect(config.sites.a?.origins.files).toMatchObject({ directory: join(folder, "public") });
    const log = await load("log.json", '{"accessLog": {"file": "-"}, "sites": {}}');
    expect(log.accessLog?.file).toBe("-");
  });

  test("may name only permitted folders, when it names any", async () => {
    const site = (directory: string) => ({ hosts: ["a.example"], origins: { files: { directory } } });
    const text = (directory: string) =>
      JSON.stringify({ permitted: { directories: ["./www"] }, sites: { a: site(directory) } });
    await load("inside.json", text("./www/a"));
    for (const outside of ["./www2", "./www/../etc", "/etc", "."]) {
      expect((await told("outside.json", text(outside)))[0]).toContain("lies outside permitted.directories");
    }
  });

  test("of 10,000 sites is read within the limits, without holding up other work", async () => {
    const sites = Object.fromEntries(
      Array.from({ length: 10_000 }, (_, i) => [
        `s${i}`,
        {
          hosts: [`h${i}.example`],
          origins: { app: { url: `http://o${i}.example` } },
          behaviors: [{ path: "/static/*", ttlSeconds: { default: 60 } }, { path: "/*" }],
        },
      ]),
    );
    const file = await put("many.json", JSON.stringify({ sites }));
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const loader = new ConfigLoader(file);
    const result = await loader.load();
    clearInterval(timer);
    expect(result.ok && Object.keys(result.config.sites).length).toBe(10_000);
    expect(turns).toBeGreaterThan(10);
    const again = await loader.load();
    expect(result.ok && again.ok && again.config.sites.s9 === result.config.sites.s9).toBe(true);
  });
});
