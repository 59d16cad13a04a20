/** Configs that are valid but for what a test puts in them. */

export const SITE = { hosts: ["shop.example"], origins: { app: { url: "http://app.example" } } };

/** A config with one site; settings of site, behaviour and origin replace the usual ones. */
export function siteWith(site: object): unknown {
  return { sites: { shop: { ...SITE, ...site } } };
}
export function behaviorWith(behavior: object): unknown {
  return siteWith({ behaviors: [{ path: "/*", ...behavior }] });
}
export function originWith(origin: object): unknown {
  return siteWith({ origins: { app: { url: "http://app.example", ...origin } } });
}
export const HOOK = { webhook: "https://hooks.example/a", secret: { env: "HOOK_SECRET" } };
export const MAIL = {
  email: ["ops@shop.example"],
  from: "edge@shop.example",
  smtp: { host: "mail.shop.example" },
};
export function joinWith(nats: object): unknown {
  return { join: { control: "https://c", nats }, sites: {} };
}
export function alertsWith(alerts: object): unknown {
  return { alerts: { channels: { ops: HOOK }, ...alerts }, sites: {} };
}
export function mailWith(channel: object): unknown {
  return alertsWith({ channels: { mail: { ...MAIL, ...channel } } });
}
export function smtpWith(smtp: object): unknown {
  return mailWith({ smtp: { ...MAIL.smtp, ...smtp } });
}
export function groupWith(group: object): unknown {
  return siteWith({
    originGroups: { both: { members: ["app"], ...group } },
    behaviors: [{ path: "/*", origin: "both" }],
  });
}
export function tiersWith(tiers: object): unknown {
  return { tiers: { secret: { env: "TIER_SECRET" }, ...tiers }, sites: {} };
}
export function shieldWith(shield: object): unknown {
  return tiersWith({ shields: { fra: { urls: ["http://fra.example"], ...shield } } });
}
