/** Fetches over HTTP/3 only. */

/** Asks `https://127.0.0.1:port` over QUIC. The runtime's client takes any certificate here: QUIC has its own trust options. */
export function fetchHttp3(port: number, path: string, init: RequestInit = {}): Promise<Response> {
  const options = {
    redirect: "manual",
    decompress: false,
    protocol: "http3",
    tls: { rejectUnauthorized: false },
    ...init,
  };
  return fetch(`https://127.0.0.1:${port}${path}`, options as RequestInit);
}
