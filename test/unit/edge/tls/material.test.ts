import { afterEach, describe, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../../../src/base/clock.ts";
import { ProximaError } from "../../../../src/base/errors.ts";
import { ensureLocalCa, type LocalCa } from "../../../../src/edge/tls/local-ca.ts";
import { loadTlsMaterial, type TlsSources } from "../../../../src/edge/tls/material.ts";

const dayMs = 86_400_000;
const directories: string[] = [];

afterEach(async () => {
  for (const made of directories.splice(0)) await rm(made, { recursive: true, force: true });
});

/** An authority, a clock, and a way to put its certificates into files. */
async function bench() {
  const home = await mkdtemp(join(tmpdir(), "proxima-tls-"));
  directories.push(home);
  const clock = new ManualClock();
  const ca = await ensureLocalCa(join(home, "ca"), clock);
  const file = async (name: string, names: string[]) => {
    const { cert, key } = await ca.issue(names);
    const files = { certFile: join(home, `${name}.crt`), keyFile: join(home, `${name}.key`) };
    await writeFile(files.certFile, cert);
    await writeFile(files.keyFile, key);
    return { ...files, cert, key };
  };
  const load = (sources: Partial<TlsSources>) =>
    loadTlsMaterial({ certificates: [], minVersion: "1.2", localCa: null, names: [], clock, ...sources });
  return { home, clock, ca, file, load };
}

async function errorOf(run: Promise<unknown>): Promise<string> {
  try {
    await run;
  } catch (error) {
    if (error instanceof ProximaError) return error.message;
    throw error;
  }
  throw new Error("it worked");
}

const namesOf = (loaded: Awaited<ReturnType<typeof loadTlsMaterial>>) =>
  loaded.material.named.map((entry) => entry.serverName);

describe("certificates in files", () => {
  test("are used for the DNS names in them; the first is the default", async () => {
    const { file, load } = await bench();
    const first = await file("first", ["a.test", "*.a.test", "127.0.0.1"]);
    const second = await file("second", ["b.test"]);
    const loaded = await load({ certificates: [first, second], minVersion: "1.3" });
    expect(namesOf(loaded).sort()).toEqual(["*.a.test", "a.test", "b.test"]);
    expect(loaded.material.default).toEqual({ cert: first.cert, key: first.key });
    expect(loaded.material.minVersion).toBe("1.3");
    expect(loaded.warnings).toEqual([]);
  });

  test("are used for the names given for them instead", async () => {
    const { file, load } = await bench();
    const loaded = await load({
      certificates: [{ ...(await file("first", ["a.test"])), serverNames: ["Other.test"] }],
    });
    expect(namesOf(loaded)).toEqual(["other.test"]);
  });

  test("that claim one name twice are warned about, and the earlier one is used", async () => {
    const { file, load } = await bench();
    const first = await file("first", ["a.test"]);
    const second = await file("second", ["a.test", "b.test"]);
    const loaded = await load({ certificates: [first, second] });
    expect(loaded.material.named.find((entry) => entry.serverName === "a.test")?.cert).toBe(first.cert);
    expect(loaded.warnings).toEqual([`${second.certFile}: a.test has an earlier certificate, which is used`]);
  });

  test("that end soon, have ended or have not begun are warned about", async () => {
    const { clock, file, load } = await bench();
    const files = await file("first", ["a.test"]);
    clock.advance(390 * dayMs);
    expect((await load({ certificates: [files] })).warnings[0]).toContain("the certificate ends on");
    clock.advance(10 * dayMs);
    expect((await load({ certificates: [files] })).warnings[0]).toContain("the certificate ended on");
    clock.advance(-500 * dayMs);
    expect((await load({ certificates: [files] })).warnings[0]).toContain("not valid before");
  });

  test("that are missing, malformed or do not belong together are refused with the file's name", async () => {
    const { home, file, load } = await bench();
    const first = await file("first", ["a.test"]);
    const second = await file("second", ["b.test"]);
    const missing = join(home, "missing");
    const junk = join(home, "junk");
    await writeFile(junk, "junk");
    expect(await errorOf(load({ certificates: [{ ...first, certFile: missing }] }))).toContain(missing);
    expect(await errorOf(load({ certificates: [{ ...first, certFile: junk }] }))).toContain(
      "no PEM certificate",
    );
    expect(await errorOf(load({ certificates: [{ ...first, keyFile: junk }] }))).toContain(
      `${junk} can not be used for TLS`,
    );
    expect(await errorOf(load({ certificates: [{ ...first, keyFile: second.keyFile }] }))).toContain(
      `${second.keyFile} can not be used for TLS: it is not the key of the certificate in ${first.certFile}`,
    );
  });

  test("that are none at all, without an authority, are refused", async () => {
    const { load } = await bench();
    expect(await errorOf(load({}))).toContain("there is no certificate");
  });
});

describe("the local authority", () => {
  test("signs for the names that no file covers", async () => {
    const { ca, file, load } = await bench();
    const first = await file("first", ["a.test", "*.a.test"]);
    const asked: string[][] = [];
    const counting: LocalCa = {
      ...ca,
      issue: (names) => {
        asked.push([...names]);
        return ca.issue(names);
      },
    };
    const loaded = await load({
      certificates: [first],
      localCa: counting,
      names: ["a.test", "x.a.test", "y.x.a.test", "c.test"],
    });
    expect(asked).toEqual([["y.x.a.test", "c.test"]]);
    expect(namesOf(loaded).sort()).toEqual(["*.a.test", "a.test", "c.test", "y.x.a.test"]);
    expect(loaded.material.default.cert).toBe(first.cert);
  });

  test("makes the default certificate when there are no files", async () => {
    const { ca, load } = await bench();
    const loaded = await load({ localCa: ca, names: ["localhost", "127.0.0.1"] });
    expect(namesOf(loaded)).toEqual(["localhost"]);
    expect(loaded.material.default.cert).toContain("BEGIN CERTIFICATE");
  });

  test("is not asked when the files cover everything", async () => {
    const { ca, file, load } = await bench();
    const first = await file("first", ["a.test"]);
    const silent: LocalCa = { ...ca, issue: () => Promise.reject(new Error("asked")) };
    expect(namesOf(await load({ certificates: [first], localCa: silent, names: ["a.test"] }))).toEqual([
      "a.test",
    ]);
  });
});
