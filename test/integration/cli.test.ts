/** The commands as a person types them, the whole program behind them: what they print, and how they fail. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startOrigin, text } from "../kit/origin.ts";
import { stage } from "../kit/stage.ts";

const { app, programs, stops } = stage();

const anywhere = ["--http", ":0", "--https", ":0", "--control", ":0"];

describe("proxima dev", () => {
  test("without an origin shows a site of its own, and the three lines it prints do what they say", async () => {
    const all = programs();
    const program = all.start(["dev", ...anywhere]);
    await program.until(/Ctrl\+C/);
    const lines = [...program.out.matchAll(/^ +(curl .*?) +# (.*)$/gm)];
    expect(lines).toHaveLength(3);
    for (const [i, shows] of ["MISS", "HIT", "BYPASS"].entries()) {
      const command = lines[i]?.[1];
      const run = Bun.spawn(["sh", "-c", command as string], { cwd: all.folder });
      expect(await new Response(run.stdout).text()).toMatch(new RegExp(`^x-cache: ${shows}\\r?$`, "im"));
    }
    const ca = /^ +(curl --cacert .*)$/m.exec(program.out)?.[1];
    const run = Bun.spawn(["sh", "-c", `${ca} -s -o /dev/null -w '%{http_code} %{http_version}'`], {
      cwd: all.folder,
    });
    expect(await new Response(run.stdout).text()).toBe("200 2");
    expect(program.err).toBe("");
    // The last line it prints is one to try as well.
    const why = /(proxima explain .*)$/m.exec(program.out)?.[1]?.split(" ").slice(1) ?? [];
    const explained = await all.run(why);
    expect([explained.status, explained.err]).toEqual([0, ""]);
  });

  test("with :0 prints the ports that were really bound", async () => {
    const origin = app(() => text("here"));
    const program = programs().start(["dev", origin.url, ...anywhere]);
    const { httpPort, httpsPort, controlPort, http, control } = await program.addresses();
    expect(new Set([httpPort, httpsPort, controlPort]).size).toBe(3);
    expect(Math.min(httpPort, httpsPort, controlPort)).toBeGreaterThan(1023);
    expect(await (await fetch(http)).text()).toBe("here");
    expect((await fetch(`${control}/readyz`)).status).toBe(200);
    expect(program.out).toContain(`https    https://127.0.0.1:${httpsPort} (HTTP/1.1, HTTP/2)`);
    expect(program.out).toContain(`h3       https://127.0.0.1:${httpsPort} (HTTP/3 over UDP)`);
  });

  test("DIRECTORY serves its files", async () => {
    const all = programs();
    mkdirSync(join(all.folder, "public/docs"), { recursive: true });
    await all.write("public/index.html", "<h1>Home</h1>");
    await all.write("public/docs/index.html", "<h1>Docs</h1>");
    await all.write("public/app.1a2b3c4d5e.js", "export {};");
    await all.write("secret.txt", "not for viewers");
    const program = all.start(["dev", "./public", ...anywhere]);
    const { http } = await program.addresses();
    const get = async (path: string) => {
      const response = await fetch(http + path, { redirect: "manual" });
      return {
        status: response.status,
        body: await response.text(),
        cache: response.headers.get("x-cache"),
        headers: response.headers,
      };
    };
    expect(await get("/")).toMatchObject({ status: 200, body: "<h1>Home</h1>" });
    expect(await get("/docs/")).toMatchObject({ status: 200, body: "<h1>Docs</h1>" });
    expect((await get("/docs")).headers.get("location")).toBe("./docs/");
    expect(await get("/app.1a2b3c4d5e.js")).toMatchObject({ status: 200, cache: "MISS" });
    const hit = await get("/app.1a2b3c4d5e.js");
    expect([hit.cache, hit.headers.get("cache-control")]).toEqual([
      "HIT",
      "public, max-age=31536000, immutable",
    ]);
    for (const path of ["/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/missing"]) {
      expect(await get(path)).not.toMatchObject({ status: 200 });
    }
    // A page that is changed is seen at once.
    writeFileSync(join(all.folder, "public/index.html"), "<h1>New</h1>");
    expect((await get("/")).body).toBe("<h1>New</h1>");
  });

  test("serves when the origin is not there yet, warns, and recovers", async () => {
    const origin = startOrigin(() => text("up"));
    const { url, port } = origin;
    await origin.stop();
    const program = programs().start(["dev", url, ...anywhere]);
    const { http } = await program.addresses();
    await program.until(/warning: the origin \S+ can not be reached yet: connection refused/);
    const down = await fetch(http);
    expect([down.status, down.headers.get("proxy-status")]).toEqual([
      502,
      expect.stringContaining("connection_refused"),
    ]);
    const back = Bun.serve({ hostname: "127.0.0.1", port, fetch: () => new Response("up") });
    stops.push(() => back.stop(true));
    expect(await (await fetch(http)).text()).toBe("up");
  });

  test("keeps to --cache-memory", async () => {
    const origin = app(
      () =>
        new Response(new Uint8Array(256 * 1024), {
          headers: { "cache-control": "max-age=600", "content-type": "image/png" },
        }),
    );
    const program = programs().start(["dev", origin.url, "--cache-memory", "2MiB", ...anywhere]);
    const { http, control } = await program.addresses();
    for (let i = 0; i < 24; i++) await (await fetch(`${http}/${i}`)).bytes();
    const { store } = (await (await fetch(`${control}/v1/stats`)).json()) as {
      store: { bytes: number; objects: number };
    };
    expect(store.bytes).toBeLessThanOrEqual(2 * 1024 * 1024);
    expect(store.objects).toBeGreaterThan(3);
    expect(store.objects).toBeLessThan(8);
  });

  test("writes the access log to standard output, one JSON object a line, and nothing else there", async () => {
    const origin = app(() => text("ok"));
    const program = programs().start(["dev", origin.url, "--access-log", "-", ...anywhere]);
    const { http } = await program.addresses();
    await (await fetch(`${http}/a?b=c`)).text();
    program.kill("SIGTERM");
    const { out, status } = await program.end();
    expect(status).toBe(0);
    const lines = out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ method: "GET", path: "/a", status: 200 });
  });

  const wrong: Record<string, [argv: string[], status: number, err: RegExp]> = {
    "an origin that is no URL": [
      ["dev", "http://"],
      2,
      /^proxima: origin "http:\/\/" is not a readable URL; write http:\/\/host\[:port\]\[\/prefix\]\n$/,
    ],
    "an origin of another scheme": [
      ["dev", "ftp://a.example"],
      2,
      /^proxima: origin "ftp:\/\/a\.example" must begin with http:\/\/ or https:\/\/\n$/,
    ],
    "a host without a scheme": [
      ["dev", "localhost:3000"],
      2,
      /^proxima: origin "localhost:3000" is neither .*; did you mean http:\/\/localhost:3000 \?\n$/,
    ],
    "a directory that is not there": [
      ["dev", "./nowhere"],
      2,
      /^proxima: origin "\.\/nowhere" is neither a URL .* nor a directory\n$/,
    ],
    "a port that is none": [
      ["dev", "--http", ":99999"],
      2,
      /^proxima: .*--http.* ':99999' is invalid\. Expected HOST:PORT.*\n$/,
    ],
    "a size that is none": [
      ["dev", "--cache-memory", "lots"],
      2,
      /^proxima: .*--cache-memory.*'lots' is invalid\. Expected a size.*\n$/,
    ],
    "an address of another machine": [
      ["dev", "--http", "192.0.2.1:0", "--https", ":0", "--control", ":0"],
      1,
      /^proxima: cannot listen on port 0 on 192\.0\.2\.1: .*not an address of this machine.*\n$/,
    ],
    "a command that is misspelt": [["devv"], 2, /^proxima: unknown command 'devv'; did you mean dev \?\n$/],
    "an option that is misspelt": [
      ["dev", "--htp", ":0"],
      2,
      /^proxima: unknown option '--htp'; did you mean --http \?\n$/,
    ],
    "a config that is not there": [["edge", "--config", "none.json"], 2, /^proxima: none\.json: .*\n$/],
    "no config": [["edge"], 2, /^proxima: give --config FILE, or --control URL for an edge of a fleet\n$/],
    "a URL to explain that is none": [
      ["explain", "shop"],
      2,
      /^proxima: "shop" is not a URL; write http\(s\):\/\/host\/path\n$/,
    ],
    "no node to explain": [
      ["explain", "http://a.example/", "--control", "127.0.0.1:9"],
      1,
      /^proxima: .*127\.0\.0\.1:9.*\n$/,
    ],
  };
  for (const [name, [argv, status, err]] of Object.entries(wrong)) {
    test(`says in one sentence what is wrong: ${name}`, async () => {
      const end = await programs().run(argv);
      expect({ ...end, err: "" }).toEqual({ status, out: "", err: "" });
      expect(end.err).toMatch(err);
    });
  }
});

describe("a config that is wrong", () => {
  const config = (replace: (json: string) => string) =>
    replace(
      JSON.stringify(
        {
          listen: { http: "127.0.0.1:0", control: "127.0.0.1:0" },
          sites: {
            shop: {
              hosts: ["shop.example"],
              origins: { app: { url: "http://127.0.0.1:9" } },
              behaviors: [{ path: "/*", origin: "app" }],
            },
          },
        },
        null,
        2,
      ),
    );
  const wrong: Record<string, [content: string, expected: RegExp]> = {
    "edge.json": [
      config((json) => json.replace('"behaviors"', '"behaviours"')),
      /^proxima: edge\.json:\d+:\d+: sites\.shop\.behaviours: unknown setting "behaviours"; did you mean "behaviors"\?\n$/,
    ],
    "origin.json": [
      config((json) => json.replace('"origin": "app"', '"origin": "ap"')),
      /^proxima: origin\.json has 1 problem and 1 warning:\norigin\.json:\d+:\d+: sites\.shop\.behaviors\[0\]\.origin: .*"ap".*did you mean "app"\?\norigin\.json:\d+:\d+: warning: .*\n$/,
    ],
    "edge.yaml": [
      "sites:\n  shop:\n    host: [shop.example]\n    hosts: [shop.example]\n    origins: { app: { url: http://127.0.0.1:9 } }\n",
      /^proxima: edge\.yaml:3:5: sites\.shop\.host: unknown setting "host"; did you mean "hosts"\?\n$/,
    ],
    "edge.ts": [
      'import { defineConfig } from "proxima-cdn";\nexport default defineConfig({ sites: { shop: { hosts: ["a.example"], origins: { app: { url: "nonsense" } } } } });\n',
      /^proxima: edge\.ts: sites\.shop\.origins\.app\.url: .*\n$/,
    ],
  };
  for (const [name, [content, expected]] of Object.entries(wrong)) {
    test(`names file, place, what was expected and the nearest valid name (${name})`, async () => {
      const all = programs();
      await all.write(name, content);
      const started = await all.run(["edge", "--config", name]);
      expect([started.status, started.out]).toEqual([2, ""]);
      expect(started.err).toMatch(expected);
      const checked = await all.run(["config", "check", name]);
      expect([checked.status, checked.out]).toEqual([2, ""]);
      expect(started.err).toEndWith(checked.err);
    });
  }

  test("is checked without being started, and a right one is said to be right", async () => {
    const all = programs();
    await all.write(
      "edge.json",
      config((json) => json),
    );
    expect(await all.run(["config", "check", "edge.json"])).toEqual({
      status: 0,
      out: "edge.json: ok, 1 site, 1 behavior\n",
      err: "",
    });
  });
});

describe("proxima explain", () => {
  test("asks a running edge and shows the decision, step by step, before and after it is stored", async () => {
    const origin = app(() => text("ok", { "cache-control": "max-age=60" }));
    const all = programs();
    const program = all.start(["dev", origin.url, ...anywhere]);
    const { http, control } = await program.addresses();
    const ask = (...argv: string[]) =>
      all.run(["explain", `${http}/a?utm_source=x`, "--control", control.replace("http://", ""), ...argv]);
    const before = await ask();
    expect([before.status, before.err]).toEqual([0, ""]);
    expect(before.out).toMatch(/miss/i);
    expect(origin.count()).toBe(0);
    await (await fetch(`${http}/a?utm_source=x`)).text();
    const after = await ask();
    expect(after.out).toMatch(/hit/i);
    expect(after.out).toContain("dev");
    const json = JSON.parse((await ask("--json")).out) as Record<string, unknown>;
    expect(Object.keys(json).length).toBeGreaterThan(2);
    expect((await ask("--method", "POST")).out).toMatch(/bypass/i);
    expect((await ask("--header", "Authorization: me")).out).toMatch(/bypass/i);
    expect(origin.count()).toBe(1);
  });
});

describe("help and version", () => {
  test("are on standard output, for every command, with an example each", async () => {
    const all = programs();
    const { version } = JSON.parse(readFileSync(join(import.meta.dir, "../../package.json"), "utf8")) as {
      version: string;
    };
    expect(await all.run(["--version"])).toEqual({ status: 0, out: `${version}\n`, err: "" });
    for (const argv of [
      ["--help"],
      ["dev", "--help"],
      ["edge", "--help"],
      ["config", "check", "--help"],
      ["explain", "--help"],
      ["help", "dev"],
    ]) {
      const { status, out, err } = await all.run(argv);
      expect([argv.join(" "), status, err]).toEqual([argv.join(" "), 0, ""]);
      expect(out).toMatch(/\$ proxima /);
      expect(out).toContain("Exit status");
      for (const line of out.split("\n")) expect(line.length).toBeLessThanOrEqual(120);
    }
  });

  test("stand in for a missing command, on standard error", async () => {
    const { status, out, err } = await programs().run([]);
    expect([status, out]).toEqual([2, ""]);
    expect(err).toContain("Usage: proxima");
  });
});
