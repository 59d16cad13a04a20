import { expect, test } from "bun:test";
import fc from "fast-check";
import { ProximaError } from "../../../src/base/errors.ts";
import { addressSet, isPublicIp, parseIp } from "../../../src/http/ip.ts";

test("reads addresses into one form, mapped ones as IPv4", () => {
  expect(parseIp("192.0.2.1")).toEqual({ family: 4, text: "192.0.2.1", bytes: [192, 0, 2, 1] });
  expect(parseIp("::ffff:192.0.2.1")).toEqual({ family: 4, text: "192.0.2.1", bytes: [192, 0, 2, 1] });
  expect(parseIp("::FFFF:C000:0201")?.text).toBe("192.0.2.1");
  expect(parseIp("2001:DB8:0:0:0:0:0:1")?.text).toBe("2001:db8::1");
  expect(parseIp("2001:db8::1")?.bytes).toHaveLength(16);
  expect(parseIp("fe80::1%eth0")?.text).toBe("fe80::1");
});

test("refuses what only looks like one", () => {
  for (const text of [
    "",
    "1",
    "1.2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "127.1",
    " 1.2.3.4",
    "1.2.3.4:80",
    "[::1]",
    ":::",
    "1::2::3",
    "::g",
    "a".repeat(100),
  ]) {
    expect([text, parseIp(text)]).toEqual([text, null]);
  }
});

test("a set holds addresses and ranges of both families", () => {
  const set = addressSet(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1/128", "::ffff:198.51.100.0/120"]);
  for (const inside of [
    "10.255.0.1",
    "::ffff:10.1.2.3",
    "192.0.2.7",
    "2001:db8:ffff::1",
    "::1",
    "198.51.100.200",
  ]) {
    expect([inside, set.has(inside), set.has(inside)]).toEqual([inside, true, true]);
  }
  for (const outside of [
    "11.0.0.1",
    "192.0.2.8",
    "2001:db9::1",
    "::2",
    "198.51.101.1",
    "",
    "unknown",
    "10.0.0.1/8",
  ]) {
    expect([outside, set.has(outside), set.has(outside)]).toEqual([outside, false, false]);
  }
  expect(addressSet([]).has("10.0.0.1")).toBe(false);
  expect(addressSet(["0.0.0.0/0"]).has("203.0.113.1")).toBe(true);
  expect(addressSet(["0.0.0.0/0"]).has("2001:db8::1")).toBe(false);
  expect(addressSet(["::/0"]).has("203.0.113.1")).toBe(false);
});

test("a wrong range is named in the error", () => {
  for (const cidr of [
    "",
    "10.0.0.0/33",
    "10.0.0.0/",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "10.0.0/8",
    "::/129",
    "::ffff:10.0.0.0/8",
    "fe80::1%eth0",
    "example.com",
    "10.0.0.0/ 8",
  ]) {
    let thrown: unknown;
    try {
      addressSet(["127.0.0.1", cidr]);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(ProximaError);
    expect((thrown as ProximaError).code).toBe("bad_address");
    expect((thrown as ProximaError).message).toContain(`"${cidr}"`);
  }
});

test("an IPv4 range holds exactly the addresses that share its prefix", () => {
  const value = (text: string) => text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  fc.assert(
    fc.property(fc.ipV4(), fc.ipV4(), fc.integer({ min: 0, max: 32 }), (base, address, bits) => {
      const size = 2 ** (32 - bits);
      const expected = Math.floor(value(base) / size) === Math.floor(value(address) / size);
      expect(addressSet([`${base}/${bits}`]).has(address)).toBe(expected);
      expect(addressSet([`${base}/${bits}`]).has(base)).toBe(true);
    }),
  );
});

test.each([
  ["8.8.8.8", true],
  ["2606:4700::1111", true],
  ["::ffff:8.8.8.8", true],
  ["127.0.0.1", false],
  ["::1", false],
  ["10.1.2.3", false],
  ["172.16.0.1", false],
  ["192.168.1.1", false],
  ["100.64.0.1", false],
  ["169.254.169.254", false],
  ["::ffff:169.254.169.254", false],
  ["fe80::1", false],
  ["fd00::1", false],
  ["64:ff9b::7f00:1", false],
  ["2002:7f00:1::", false],
  ["::7f00:1", false],
  ["4000::1", false],
  ["0.0.0.0", false],
  ["::", false],
  ["224.0.0.1", false],
  ["255.255.255.255", false],
  ["no address", false],
])("%s is of the public internet: %p", (text, isPublic) => {
  expect(isPublicIp(text)).toBe(isPublic);
});

test("the one form of an address is its own", () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      const once = parseIp(text);
      expect(once).not.toBeNull();
      expect(parseIp(once?.text ?? "")).toEqual(once);
    }),
  );
});
