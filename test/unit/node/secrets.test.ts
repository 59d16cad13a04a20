import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readSecret } from "../../../src/node/secrets.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "proxima-secrets-"));
  mkdirSync(join(folder, "in"));
  mkdirSync(join(folder, "out"));
  writeFileSync(join(folder, "in", "key"), "s3cret\r\n");
  writeFileSync(join(folder, "out", "key"), "s3cret");
  writeFileSync(join(folder, "in", "large"), "s3cret".repeat(20_000));
  symlinkSync(join(folder, "out", "key"), join(folder, "in", "link"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const faultOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "taken",
    (error: Error) => error.message,
  );

describe("a secret", () => {
  test("comes from a variable, or is not set", async () => {
    expect(await readSecret({ env: "A" }, undefined, { A: "x\n" })).toBe("x");
    expect(await readSecret({ env: "B" }, undefined, { A: "x" })).toBeNull();
    expect(await readSecret({ env: "A" }, { secretVariables: ["B"] }, { A: "x" })).toBeNull();
    expect(await readSecret({ env: "A" }, { secretVariables: ["A"] }, { A: "x" })).toBe("x");
  });

  test("comes from a file, without the line's end", async () => {
    expect(await readSecret({ file: join(folder, "in", "key") }, undefined)).toBe("s3cret");
    const permitted = { secretDirectories: [join(folder, "in")] };
    expect(await readSecret({ file: join(folder, "in", "key") }, permitted)).toBe("s3cret");
  });

  test("does not come from anything else, and the reason does not show it", async () => {
    const permitted = { secretDirectories: [join(folder, "in")] };
    const refused: [string, string][] = [
      ["out/key", "outside permitted.secretDirectories"],
      ["in/link", "outside permitted.secretDirectories"],
      ["in/none", "ENOENT"],
      ["in", "it is not a file"],
      ["in/large", "larger than"],
    ];
    for (const [file, reason] of refused) {
      const fault = await faultOf(readSecret({ file: join(folder, file) }, permitted));
      expect(fault).toContain(`the file ${join(folder, file)} can not be read: `);
      expect(fault).toContain(reason);
      expect(fault).not.toContain("s3cret");
    }
  });
});
