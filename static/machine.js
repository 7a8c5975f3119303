/* Panels of the machine that trains: how busy it is, what its device draws and how warm it gets. Nothing is shown that it does not tell. */
import { axis, label, plain, rgba } from "./charts.js";
import { number } from "./format.js";
import { t as say } from "./messages.js";
import { frame, last, most, one } from "./panels.js";

/** Shares of what the machine has: [key, word, colour]. */
const SHARES = [["system/device_util", "device-busy", 0], ["system/cpu", "cpu-all", 2], ["system/process_cpu", "cpu-run", 5]];

/** Curves with their probes as one. */
const both = (found) => ({ traces: found.flatMap((curve) => curve.traces), probes: found.flatMap((curve) => curve.probes) });

/** Each share's name over the end of its line, moved apart so that none covers another. */
function named(t, p, top) {
  let low = 0;
  return SHARES.filter(([key]) => p.has(key)).map(([key, word, colour]) => ({ y: last(p, key), word, colour })).sort((a, b) => a.y - b.y).map(({ y, word, colour }) => {
    low = Math.max(low + top / 8, y);
    return label(t, 1, low, plain(say(word)), { xref: "paper", xanchor: "right", yanchor: "bottom", font: { size: 11, color: t.c[colour] }, bgcolor: rgba(t.surface, 0.75) });
  });
}

/** As PANELS of panels.js. */
export const MACHINE = {
  machine: {
    keys: SHARES.map(([key]) => key),
    figure: (t, p, plan, view, u, yrange) => {
      const found = SHARES.map(([key, word, colour]) => p.has(key) && one(p, key, view, u, { colour: t.c[colour], name: say(word), width: 1.5, write: (v) => `${number(v)} %` })).filter(Boolean);
      const top = Math.max(110, 1.3 * most(SHARES.filter(([key]) => p.has(key)).flatMap(([key]) => p.get(key).y), 0));
      return frame(t, p, plan, view, u, yrange, both(found), { yaxis: axis(t, { range: [0, top], nticks: 5, ticksuffix: " %" }), annotations: named(t, p, top) });
    },
    value: (p) => `${number(last(p, SHARES.find(([key]) => p.has(key))[0]))} %`,
  },
  heat: {
    keys: ["system/device_power_w", "system/device_temp_c"],
    figure: (t, p, plan, view, u, yrange) => {
      const [power, heat] = [p.has("system/device_power_w"), p.has("system/device_temp_c")];
      const found = [power && one(p, "system/device_power_w", view, u, { colour: t.c[4], name: say("power"), width: 1.5, write: (v) => `${number(v)} W` }), heat && one(p, "system/device_temp_c", view, u, { colour: t.c[1], name: say("temperature"), width: 1.5, write: (v) => `${number(v)} °C` })].filter(Boolean);
      if (power && heat) found[1].traces[0].yaxis = "y2";
      const reach = (key) => [0, 1.2 * most(p.get(key).y, 1)];
      return frame(t, p, plan, view, u, yrange, both(found), {
        ...(power && heat ? { margin: { l: 48, r: 44, t: 8, b: 26 }, yaxis2: axis(t, { tickfont: { size: 11, color: t.c[1] }, overlaying: "y", side: "right", range: reach("system/device_temp_c"), showgrid: false, tickmode: "auto", nticks: 4, ticksuffix: "°" }) } : {}),
        yaxis: axis(t, { tickfont: { size: 11, color: t.c[power ? 4 : 1] }, range: reach(power ? "system/device_power_w" : "system/device_temp_c"), nticks: 4, ticksuffix: power ? " W" : " °C" }),
      });
    },
    value: (p) => [["system/device_power_w", "W"], ["system/device_temp_c", "°C"]].filter(([key]) => p.has(key)).map(([key, sign]) => `${number(last(p, key))} ${sign}`).join(" · "),
  },
};
