import { afterEach, describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import { ManualClock } from "../../../../src/base/clock.ts";
import { ProximaError } from "../../../../src/base/errors.ts";
import { ensureLocalCa } from "../../../../src/edge/tls/local-ca.ts";

const directories: string[] = [];

async function directory(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), "proxima-ca-"));
  directories.push(made);
  return made;
}

afterEach(async () => {
  for (const made of directories.splice(0)) await rm(made, { recursive: true, force: true });
});

const dayMs = 86_400_000;
const leafOf = (pem: string) =>
  new X509Certificate(pem.slice(0, pem.indexOf("-----END CERTIFICATE-----") + 25));

async function errorOf(run: Promise<unknown>): Promise<ProximaError> {
  try {
    await run;
  } catch (error) {
    if (error instanceof ProximaError) return error;
    throw error;
  }
  throw new Error("it worked");
}

describe("the local authority", () => {
  test("is made on the first run, with a key that only its owner can read, and kept", async () => {
    const home = join(await directory(), "tls");
    const first = await ensureLocalCa(home);
    const again = await ensureLocalCa(home);
    expect(again.cert).toBe(first.cert);
    expect(first.name).toStartWith("Proxima local CA ");
    expect((await stat(join(home, "local-ca.pem"))).mode & 0o777).toBe(0o600);
    expect(await readFile(first.certFile, "utf8")).toBe(first.cert);
    expect(await readFile(first.certFile, "utf8")).not.toContain("PRIVATE KEY");
    expect((await readdir(home)).filter((name) => name.endsWith(".partial"))).toEqual([]);
  });

  test("lasts ten years and may sign servers only", async () => {
    const clock = new ManualClock();
    const ca = new X509Certificate((await ensureLocalCa(await directory(), clock)).cert);
    expect(ca.ca).toBe(true);
    expect(Date.parse(ca.validTo) - clock.now()).toBe(3_650 * dayMs);
  });

  test("that is half written, empty, foreign or over is a clear error and not replaced", async () => {
    const home = await directory();
    const file = join(home, "local-ca.pem");
    const clock = new ManualClock();
    await ensureLocalCa(home, clock);
    const whole = await readFile(file, "utf8");
    const otherHome = await directory();
    await ensureLocalCa(otherHome, clock);
    const other = await readFile(join(otherHome, "local-ca.pem"), "utf8");
    const mixed =
      whole.slice(0, whole.indexOf("-----BEGIN CERT")) + other.slice(other.indexOf("-----BEGIN CERT"));
    for (const text of [
      "",
      whole.slice(0, whole.length / 2),
      whole.replace(/[A-Za-z0-9+/]{40}/, "A".repeat(40)),
      mixed,
    ]) {
      await writeFile(file, text);
      const error = await errorOf(ensureLocalCa(home, clock));
      expect(error.code).toBe("local_ca_unusable");
      expect(error.message).toStartWith(`the local certificate authority in ${file} can not be used: `);
      expect(await readFile(file, "utf8")).toBe(text);
    }
    await writeFile(file, whole);
    clock.advance(3_651 * dayMs);
    expect((await errorOf(ensureLocalCa(home, clock))).message).toContain("it ended on");
  });

  test("in a place that can not be written is a clear error", async () => {
    const home = await directory();
    await writeFile(join(home, "file"), "");
    const error = await errorOf(ensureLocalCa(join(home, "file", "tls")));
    expect(error.code).toBe("local_ca_unusable");
  });
});

describe("a certificate of the local authority", () => {
  test("is for the names and addresses it was asked for, and a client that trusts the authority accepts it", async () => {
    const ca = await ensureLocalCa(await directory());
    const { cert, key } = await ca.issue(["Shop.example", "*.shop.example", "127.0.0.1", "::1"]);
    const server = tls.createServer({ cert, key }, (socket) => socket.end());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const port = typeof address === "object" ? (address?.port ?? 0) : 0;
    const accepted = (servername: string | null) =>
      new Promise<string>((resolve) => {
        const socket = tls.connect(
          { host: "127.0.0.1", port, ca: ca.cert, ...(servername !== null && { servername }) },
          () => {
            resolve("accepted");
            socket.destroy();
          },
        );
        socket.on("error", (error) => resolve("code" in error ? String(error.code) : error.message));
      });
    expect(await accepted("shop.example")).toBe("accepted");
    expect(await accepted("a.shop.example")).toBe("accepted");
    expect(await accepted("other.example")).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
    expect(await accepted(null)).toBe("accepted");
    server.close();
  });

  test("lasts at most 397 days", async () => {
    const ca = await ensureLocalCa(await directory());
    const leaf = leafOf((await ca.issue(["a.test"])).cert);
    expect(Date.parse(leaf.validTo) - Date.parse(leaf.validFrom)).toBeLessThanOrEqual(397 * dayMs);
    expect(leaf.ca).toBe(false);
  });

  test("is kept for the same names in any order, with a key that only its owner can read", async () => {
    const home = await directory();
    const first = await (await ensureLocalCa(home)).issue(["b.test", "a.test"]);
    const second = await (await ensureLocalCa(home)).issue(["A.test", "b.test", "b.test."]);
    expect(second).toEqual(first);
    const leaf = (await readdir(home)).find((name) => name.startsWith("leaf-")) ?? "";
    expect((await stat(join(home, leaf))).mode & 0o777).toBe(0o600);
  });

  test("is another one for other names", async () => {
    const ca = await ensureLocalCa(await directory());
    expect((await ca.issue(["a.test"])).cert).not.toBe((await ca.issue(["a.test", "b.test"])).cert);
  });

  test("is made again within 30 days of its end, and not before", async () => {
    const clock = new ManualClock();
    const ca = await ensureLocalCa(await directory(), clock);
    const first = await ca.issue(["a.test"]);
    clock.advance(366 * dayMs);
    expect(await ca.issue(["a.test"])).toEqual(first);
    clock.advance(dayMs);
    const second = await ca.issue(["a.test"]);
    expect(second.cert).not.toBe(first.cert);
    expect(Date.parse(leafOf(second.cert).validTo)).toBeGreaterThan(clock.now() + 390 * dayMs);
  });

  test("that is damaged or of another authority is made again", async () => {
    const home = await directory();
    const first = await (await ensureLocalCa(home)).issue(["a.test"]);
    const leaf = join(home, (await readdir(home)).find((name) => name.startsWith("leaf-")) ?? "");
    await writeFile(leaf, first.cert);
    const second = await (await ensureLocalCa(home)).issue(["a.test"]);
    expect(second.key).not.toBe(first.key);
    await rm(join(home, "local-ca.pem"));
    const third = await (await ensureLocalCa(home)).issue(["a.test"]);
    expect(third.cert).not.toBe(second.cert);
  });

  test("is refused for what is no name", async () => {
    const ca = await ensureLocalCa(await directory());
    for (const name of [
      "",
      "a b",
      "*",
      "a.*.test",
      "*.*.test",
      "-a.test",
      "a..test",
      "a".repeat(64),
      "x/y",
      "256.1.1.1.",
      "a\n",
    ]) {
      const result = await ca.issue([name]).then(
        () => "issued",
        (error) => error.code,
      );
      // "256.1.1.1" is no address, and as a DNS name it is at least well formed.
      expect({ name, result }).toEqual({
        name,
        result: name === "256.1.1.1." ? "issued" : "certificate_name_invalid",
      });
    }
    expect((await errorOf(ca.issue([]))).code).toBe("certificate_name_invalid");
  });
});

test("a key file that can not be read is a clear error", async () => {
  const home = await directory();
  await ensureLocalCa(home);
  // A directory in its place can not be read by anyone, root included.
  await rm(join(home, "local-ca.pem"));
  await Bun.write(join(home, "local-ca.pem", "x"), "");
  await chmod(join(home, "local-ca.pem"), 0o700);
  expect((await errorOf(ensureLocalCa(home))).message).toContain("local-ca.pem can not be used");
});
