import { expect, test } from "bun:test";
import { expireAt, type Freshness } from "../../../src/cache/freshness.ts";
import { decodeRecord, encodeRecord } from "../../../src/cache/store/disk-record.ts";
import { Fields } from "../../../src/http/fields.ts";

const fresh: Freshness = {
  source: "max-age",
  explicit: true,
  bornMs: 1_000,
  freshUntilMs: 9_000,
  whileRevalidateUntilMs: 9_500,
  ifErrorUntilMs: 9_900,
  mustRevalidate: false,
};
const roundTrip = (freshness: Freshness) =>
  decodeRecord(
    encodeRecord({
      status: 200,
      fields: Fields.from([["etag", '"1"']]),
      coding: "gzip",
      negotiable: true,
      freshness,
      validLocal: 3,
      dateMs: 1_000,
      storedAtMs: 1_001,
    }),
  );

test("a record is read as it was written, with all that keeps it from being used stale", () => {
  for (const mustRevalidate of [false, true]) {
    const freshness = { ...fresh, mustRevalidate };
    expect(roundTrip(freshness)).toMatchObject({ status: 200, coding: "gzip", etag: '"1"', validLocal: 3 });
    expect(roundTrip(freshness)?.freshness).toEqual(freshness);
    const purged = expireAt(freshness, 5_000);
    expect(roundTrip(purged)?.freshness).toEqual({
      ...freshness,
      softPurged: true,
      freshUntilMs: 5_000,
      whileRevalidateUntilMs: 5_500,
      ifErrorUntilMs: 5_900,
    });
  }
});
