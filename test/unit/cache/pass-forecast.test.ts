/** What is expected of a URL that nobody asked for, by its neighbours. */
import { describe, expect, test } from "bun:test";
import {
  FORECAST_ANSWERS,
  FORECAST_FOLDERS_MAX,
  FORECAST_STORABLE_MS,
  FORECAST_UNSTORABLE_MS,
} from "../../../src/cache/limits.ts";
import { PassForecast } from "../../../src/cache/pass-forecast.ts";

const at = (path: string, site = "shop", host = "shop.example") => `${site} https://${host}${path}`;

/** So many unstorable answers below a folder, the last one at `nowMs`. */
function taught(folder: string, count = FORECAST_ANSWERS, nowMs = 0): PassForecast<string> {
  const forecast = new PassForecast<string>();
  for (let i = 0; i < count; i++) forecast.unstorable(at(`${folder}${i}`), "no-store", nowMs);
  return forecast;
}

describe("a new URL", () => {
  test("is not expected to be stored after eight unstorable answers in its folder, and not before", () => {
    expect(FORECAST_ANSWERS).toBe(8);
    expect(taught("/api/", 7).of(at("/api/new"), 0)).toBeNull();
    expect(taught("/api/", 8).of(at("/api/new"), 0)).toBe("no-store");
  });

  test("of a folder that is itself new is expected to be as those of the folders above, after more of them", () => {
    const forecast = new PassForecast<string>();
    const ask = (from: number, to: number) => {
      for (let user = from; user < to; user++) forecast.unstorable(at(`/users/${user}/cart`), "private", 0);
    };
    ask(0, 31);
    expect(forecast.of(at("/users/99/cart"), 0)).toBeNull();
    ask(31, 32);
    expect(forecast.of(at("/users/99/cart"), 0)).toBe("private");
    expect(forecast.of(at("/static/app.js"), 0)).toBe("private");
    expect(forecast.of(at("/static/js/app.js"), 0)).toBeNull();
  });

  test("is not judged by another site, host or scheme", () => {
    const forecast = taught("/api/");
    expect(forecast.of(at("/api/new", "other"), 0)).toBeNull();
    expect(forecast.of(at("/api/new", "shop", "www.shop.example"), 0)).toBeNull();
    expect(forecast.of("shop http://shop.example/api/new", 0)).toBeNull();
  });

  test("is not judged by slashes in queries", () => {
    const forecast = new PassForecast<string>();
    for (let i = 0; i < 8; i++) forecast.unstorable(at(`/a?next=/api/${i}`), "no-store", 0);
    forecast.storable(at("/b"), 0);
    expect(forecast.of(at("/a?next=/api/9"), 0)).toBeNull();
  });
});

describe("one answer that could be stored", () => {
  test("ends the row of its folder and of those above it, for a day", () => {
    const forecast = taught("/api/v1/");
    forecast.storable(at("/api/v1/list"), 1);
    for (let i = 0; i < 20; i++) forecast.unstorable(at(`/api/v1/x${i}`), "no-store", 2);
    expect(forecast.of(at("/api/v1/new"), 2)).toBeNull();
    expect(forecast.of(at("/api/new"), 2)).toBeNull();
    const tomorrowMs = FORECAST_STORABLE_MS + 2;
    for (let i = 0; i < 8; i++) forecast.unstorable(at(`/api/v1/y${i}`), "no-store", tomorrowMs);
    expect(forecast.of(at("/api/v1/new"), tomorrowMs)).toBe("no-store");
  });

  test("beside a folder says nothing about that folder", () => {
    const forecast = taught("/api/");
    forecast.storable(at("/logo.png"), 1);
    expect(forecast.of(at("/api/new"), 1)).toBe("no-store");
    expect(forecast.of(at("/new"), 1)).toBeNull();
  });
});

describe("a row", () => {
  test("is forgotten ten minutes after its last answer, and does not go on after such a pause", () => {
    const forecast = taught("/api/", 8, 0);
    expect(forecast.of(at("/api/new"), FORECAST_UNSTORABLE_MS)).toBe("no-store");
    expect(forecast.of(at("/api/new"), FORECAST_UNSTORABLE_MS + 1)).toBeNull();
    forecast.unstorable(at("/api/8"), "no-store", FORECAST_UNSTORABLE_MS + 1);
    expect(forecast.of(at("/api/new"), FORECAST_UNSTORABLE_MS + 1)).toBeNull();
  });

  test("is forgotten when other rules are in force", () => {
    const forecast = taught("/api/");
    forecast.clear();
    expect(forecast.of(at("/api/new"), 0)).toBeNull();
  });
});

describe("the memory", () => {
  test("has an end, and keeps what is in use", () => {
    const forecast = taught("/api/");
    for (let i = 0; i < 3 * FORECAST_FOLDERS_MAX; i++) {
      forecast.unstorable(at(`/${i}/x`, "flood", `${i}.example`), "no-store", 0);
      if (i % 1_000 === 0) forecast.unstorable(at("/api/again"), "no-store", 0);
    }
    expect(forecast.size).toBeLessThanOrEqual(FORECAST_FOLDERS_MAX);
    expect(forecast.of(at("/api/new"), 0)).toBe("no-store");
  });

  test("takes any path: deep, empty, or without an end", () => {
    const forecast = new PassForecast<string>();
    for (const path of ["/", "", "/".repeat(5_000), `/${"a/".repeat(3_000)}`, "/?", "/a//b"]) {
      for (let i = 0; i < 8; i++) forecast.unstorable(at(path), "no-store", 0);
      forecast.storable(at(path), 0);
      expect(forecast.of(at(path), 0)).toBeNull();
    }
  });
});
