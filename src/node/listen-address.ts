/** Where an edge's sockets are bound. */
import { networkInterfaces } from "node:os";
import { type ListenAddress, parseListenAddress } from "../config/address.ts";

/** A listen address with a name for "every address": both families where the machine has IPv6. */
export function listenAddress(text: string): ListenAddress {
  const parsed = parseListenAddress(text) as ListenAddress;
  if (parsed.hostname !== "") return parsed;
  const six = Object.values(networkInterfaces()).some((list) =>
    list?.some(({ family }) => family === "IPv6"),
  );
  return { hostname: six ? "::" : "0.0.0.0", port: parsed.port };
}
