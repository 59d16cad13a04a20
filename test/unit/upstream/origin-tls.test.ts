/** TLS to an origin: which certificates are taken, and what is said of the others. */
import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { bodyOf } from "../../../src/http/body.ts";
import { HttpOrigin, type HttpOriginOptions } from "../../../src/upstream/origin.ts";
import {
  makeAuthority,
  makeSelfSigned,
  type TestAuthority,
  type TestCertificate,
} from "../../kit/certificates.ts";
import { type RawConnection, type RawOrigin, startRawOrigin } from "../../kit/raw-origin.ts";
import { failureOf, readText, TIMEOUTS, until, upstreamRequest } from "../../kit/upstream-request.ts";

let authority: TestAuthority;
let other: TestAuthority;
let good: TestCertificate;
beforeAll(async () => {
  authority = await makeAuthority();
  other = await makeAuthority();
  good = await authority.issue(["origin.example"]);
});

let cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups) cleanup();
  cleanups = [];
});

const answer = async (connection: RawConnection) => {
  while ((await connection.readHead()) !== null) {
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  }
};

function start(
  certificate: TestCertificate,
  tls: HttpOriginOptions["tls"],
  options: { host?: string; handler?: (connection: RawConnection) => Promise<void> } = {},
): { raw: RawOrigin; origin: HttpOrigin } {
  const raw = startRawOrigin(options.handler ?? answer, { tls: certificate });
  const origin = new HttpOrigin({
    name: "app",
    url: `https://${options.host ?? "origin.example"}:${raw.port}`,
    clock: systemClock,
    lookup: async () => ["127.0.0.1"],
    ...(tls === undefined ? {} : { tls }),
  });
  cleanups.push(() => {
    origin.close();
    raw.stop();
  });
  return { raw, origin };
}

const get = (origin: HttpOrigin) => origin.fetch(upstreamRequest(), TIMEOUTS);

describe("a certificate is taken", () => {
  test("from an authority that is trusted, with the URL's host in it; the connection is used again", async () => {
    const { raw, origin } = start(good, { ca: authority.pem });
    for (let i = 0; i < 3; i++) expect(await readText((await get(origin)).body)).toBe("hello");
    expect(raw.connections.length).toBe(1);
  });

  test("for the server name that is configured", async () => {
    const { origin } = start(
      good,
      { ca: authority.pem, serverName: "origin.example" },
      { host: "backend.internal" },
    );
    expect((await get(origin)).status).toBe(200);
  });

  test("for an address, when the URL has one", async () => {
    const { origin } = start(
      await authority.issue(["127.0.0.1"]),
      { ca: authority.pem },
      { host: "127.0.0.1" },
    );
    expect((await get(origin)).status).toBe(200);
  });

  test("whatever it is, when verification is off", async () => {
    for (const certificate of [
      await makeSelfSigned(["x.example"]),
      await authority.issue(["origin.example"], { expired: true }),
    ]) {
      const { origin } = start(certificate, { verify: false });
      expect((await get(origin)).status).toBe(200);
    }
  });
});

describe("a certificate is refused, and the request not sent,", () => {
  const cases: [string, () => Promise<TestCertificate>, (() => HttpOriginOptions["tls"]) | null, string][] = [
    ["with another name", () => authority.issue(["other.example"]), null, "does not match"],
    ["with no name for an address", () => authority.issue(["127.0.0.9"]), null, "does not match"],
    ["that has expired", () => authority.issue(["origin.example"], { expired: true }), null, "expired"],
    ["that vouches for itself", () => makeSelfSigned(["origin.example"]), null, "self signed"],
    ["of another authority", () => other.issue(["origin.example"]), null, "signature"],
    [
      "of an authority that only its maker knows",
      () => authority.issue(["origin.example"]),
      () => undefined,
      "unable to",
    ],
  ];
  test.each(cases)("%s", async (_, issue, tls, what) => {
    const { raw, origin } = start(await issue(), tls === null ? { ca: authority.pem } : tls());
    const error = await failureOf(get(origin));
    expect([error.code, error.retryable]).toEqual(["tls_certificate_error", true]);
    expect(error.message).toStartWith(
      `origin app (127.0.0.1:${raw.port}) has no valid certificate for origin.example: `,
    );
    expect(error.message).toContain(what);
    expect(raw.received()).toBe("");
    expect(origin.stats().open).toBe(0);
  });

  test("for an address that is not in it", async () => {
    const { raw, origin } = start(good, { ca: authority.pem }, { host: "127.0.0.1" });
    expect((await failureOf(get(origin))).code).toBe("tls_certificate_error");
    expect(raw.received()).toBe("");
  });
});

test("an authority that is no certificate is said to be so", async () => {
  const { origin } = start(good, { ca: "nonsense" });
  expect((await failureOf(get(origin))).code).toBe("tls_certificate_error");
  expect(origin.stats().open).toBe(0);
});

test("an origin that does not speak TLS, or hangs up in the handshake, is a protocol error", async () => {
  for (const handler of [
    async (connection: RawConnection) => void (await connection.write("SSH-2.0-OpenSSH\r\n")),
    async (connection: RawConnection) => {
      await connection.readBytes(1);
      connection.end();
    },
    async (connection: RawConnection) => {
      await connection.readBytes(1);
      connection.reset();
    },
  ]) {
    const raw = startRawOrigin(handler);
    const origin = new HttpOrigin({ name: "app", url: `https://127.0.0.1:${raw.port}`, clock: systemClock });
    cleanups.push(() => raw.stop());
    const error = await failureOf(get(origin));
    expect([error.code, error.retryable]).toEqual(["tls_protocol_error", true]);
    expect(origin.stats().open).toBe(0);
  }
});

test("large bodies pass both ways over TLS, unchanged", async () => {
  const bytes = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => (i * 7919) % 251));
  const { origin } = start(
    good,
    { ca: authority.pem },
    {
      handler: async (connection) => {
        await connection.readHead();
        const received = await connection.readBytes(bytes.length);
        await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n`);
        await connection.write(received);
      },
    },
  );
  const response = await origin.fetch(
    upstreamRequest({ method: "POST", body: bodyOf(bytes), bodyLength: bytes.length }),
    TIMEOUTS,
  );
  expect(Buffer.from(await readText(response.body), "latin1").equals(bytes)).toBe(true);
});

test("a body that is cut over TLS is an error, by close and by reset", async () => {
  for (const how of ["end", "reset"] as const) {
    const { origin } = start(
      good,
      { ca: authority.pem },
      {
        handler: async (connection) => {
          await connection.readHead();
          await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
          await Bun.sleep(5);
          connection[how]();
        },
      },
    );
    const { body } = await get(origin);
    expect((await failureOf(readText(body))).code).toBe("http_response_incomplete");
    await until(() => origin.stats().open === 0, "nothing stays open");
  }
});
