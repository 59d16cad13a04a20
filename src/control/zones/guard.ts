/** Who may use push storage: holders of tokens and access keys, by their scopes and sites. */
import type { ReceivedRequest } from "../../http/sigv4/verify.ts";
import type { Principal, StorageGuard, Zone } from "../../storage/zone-store.ts";
import { authenticateSigned } from "../access-keys.ts";
import { REFUSALS_BURST, REFUSALS_PER_SECOND } from "../limits.ts";
import type { ControlParts } from "../parts.ts";
import { Rates } from "../rates.ts";
import { allows, type Token } from "../tokens.ts";

/** The guard of a control plane's storage. */
export function storageGuard(parts: ControlParts): StorageGuard {
  const refusals = new Rates(parts.clock, REFUSALS_PER_SECOND, REFUSALS_BURST);
  return {
    byToken(text) {
      const token = parts.tokens.verify(text);
      return token === null ? null : principalOf(token);
    },
    bySignature(request: ReceivedRequest) {
      // Clients sign by the time of the machine, also where that of the fleet is moved.
      const nowMs = parts.clock.steady.now();
      const caller = authenticateSigned(parts.tokens, request, { service: "s3", nowMs });
      return "fault" in caller
        ? caller.fault
        : { principal: principalOf(caller.token), signature: caller.signature };
    },
    done({ id, name }, address, action, target) {
      // After the change, which is safe already: a loss of power may take the note alone.
      parts.database.relaxed(() => parts.audit.done({ id, name, address }, action, target.slice(0, 500), ""));
    },
    refused(address, action, detail) {
      parts.audit.refused(
        { id: "nobody", name: "", address },
        action.slice(0, 200),
        "",
        detail.slice(0, 500),
      );
      return refusals.take(address);
    },
  };
}

/** A token as storage sees it: reading needs `read`, writing `deploy`; one that is for some sites reaches their zones alone. */
export function principalOf(token: Token): Principal {
  const reaches = (zone: Zone): boolean =>
    token.sites === null || (zone.site !== null && token.sites.includes(zone.site));
  return {
    id: `token:${token.id}`,
    name: token.name,
    mayRead: (zone) => reaches(zone) && allows(token.scopes, "read"),
    mayWrite: (zone) => reaches(zone) && allows(token.scopes, "deploy"),
  };
}
