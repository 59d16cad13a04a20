import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureInstalled, isInstalled } from "../../../scripts/install.mjs";

let folder = "";
let said: string[] = [];
const say = (line: string) => void said.push(line);

/** An empty project: npm installs it without asking anybody. */
function lock(version: string): void {
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "empty", version }));
  writeFileSync(
    join(folder, "package-lock.json"),
    JSON.stringify({
      name: "empty",
      version,
      lockfileVersion: 3,
      requires: true,
      packages: { "": { name: "empty", version } },
    }),
  );
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "install-"));
  said = [];
  lock("1.0.0");
  // npm makes no node_modules for a project without dependencies.
  mkdirSync(join(folder, "node_modules"));
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("installing", () => {
  test("happens once, and again when the lock file changes", () => {
    expect(isInstalled(folder)).toBe(false);
    ensureInstalled({ folder, say });
    expect(said).toHaveLength(1);
    expect(isInstalled(folder)).toBe(true);
    ensureInstalled({ folder, say });
    expect(said).toHaveLength(1);
    lock("1.0.1");
    expect(isInstalled(folder)).toBe(false);
    ensureInstalled({ folder, say });
    expect(said).toHaveLength(2);
  }, 30_000);

  test("happens when node_modules was put there by other means", () => {
    writeFileSync(join(folder, "node_modules", "something"), "");
    expect(isInstalled(folder)).toBe(false);
  });

  test("is not for a folder without a lock file", () => {
    rmSync(join(folder, "package-lock.json"));
    ensureInstalled({ folder, say });
    expect(said).toEqual([]);
  });

  test("says in its first line why it failed, shows npm's words, and leaves no stamp", () => {
    writeFileSync(
      join(folder, "package.json"),
      JSON.stringify({ name: "empty", version: "1.0.0", dependencies: { other: "file:./nowhere" } }),
    );
    let message = "";
    try {
      ensureInstalled({ folder, say });
    } catch (error) {
      message = String(error);
    }
    expect(message.split("\n")[0]).toBe(
      "Error: The dependencies could not be installed: npm ci ended with status 1.",
    );
    expect(message).toContain("npm error");
    expect(existsSync(join(folder, "node_modules", ".proxima-installed"))).toBe(false);
  }, 30_000);
});
