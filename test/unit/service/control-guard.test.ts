import { describe, expect, test } from "bun:test";
import { type ControlIdentity, isLoopback, refuseForeign } from "../../../src/service/control-guard.ts";

const identity = (changes: Partial<ControlIdentity>): ControlIdentity => ({
  scheme: "https",
  hostname: "0.0.0.0",
  port: 8081,
  names: [],
  tokenHash: null,
  ...changes,
});
const statusOf = (host: string, at: ControlIdentity) =>
  refuseForeign("GET", new Headers({ host }), at)?.status ?? 200;

describe("the guard of the control listener", () => {
  test("takes any address, but no name, when it listens on every address", () => {
    for (const hostname of ["", "0.0.0.0", "::"]) {
      expect(statusOf("192.0.2.7:8081", identity({ hostname }))).toBe(200);
      expect(statusOf("[2001:db8::1]:8081", identity({ hostname }))).toBe(200);
      expect(statusOf("node.example:8081", identity({ hostname }))).toBe(421);
      expect(statusOf("192.0.2.7:8082", identity({ hostname }))).toBe(421);
    }
  });

  test("takes only its own address when it listens on one", () => {
    expect(statusOf("192.0.2.7:8081", identity({ hostname: "192.0.2.7" }))).toBe(200);
    expect(statusOf("192.0.2.8:8081", identity({ hostname: "192.0.2.7" }))).toBe(421);
  });

  test("takes a Host without a port only on the scheme's own port", () => {
    expect(statusOf("localhost", identity({ port: 443 }))).toBe(200);
    expect(statusOf("localhost", identity({ port: 80 }))).toBe(421);
    expect(statusOf("localhost", identity({ scheme: "http", port: 80 }))).toBe(200);
  });

  test("knows loopback addresses from others", () => {
    for (const hostname of ["localhost", "Localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]) {
      expect([hostname, isLoopback(hostname)]).toEqual([hostname, true]);
    }
    for (const hostname of [
      "",
      "0.0.0.0",
      "::",
      "127.0.0.1.example",
      "127.example",
      "128.0.0.1",
      "::ffff:8.8.8.8",
    ]) {
      expect([hostname, isLoopback(hostname)]).toEqual([hostname, false]);
    }
  });
});
