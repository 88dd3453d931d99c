// A heat map as Grafana draws one of a histogram: @grafana/ui has none.

import React, { useEffect, useRef } from 'react';
import { dateTimeFormat, getValueFormat, GrafanaTheme2, formattedValueToString } from '@grafana/data';
import { Answer, Panel, Picture, Series } from './model';

/** Oranges of d3-scale-chromatic, from few to many. */
const ORANGES = ['#fff5eb', '#fee6ce', '#fdd0a2', '#fdae6b', '#fd8d3c', '#f16913', '#d94801', '#a63603', '#7f2704'];
const LEFT = 52;
const BOTTOM = 22;

interface Row {
  bound: number;
  /** Milliseconds to the events between the bound below and this one. */
  counts: Map<number, number>;
}

/** Cumulative buckets, as Prometheus has them, to the events in each. */
function rowsOf(series: Series[]): Row[] {
  const bounds = series.map((one) => ({ one, bound: one.labels.le === '+Inf' ? Infinity : Number(one.labels.le) }));
  bounds.sort((a, b) => a.bound - b.bound);
  let below = new Map<number, number>();
  return bounds.map(({ one, bound }) => {
    const cumulative = new Map(one.points);
    const counts = new Map([...cumulative].map(([at, value]) => [at, Math.max(0, value - (below.get(at) ?? 0))]));
    below = cumulative;
    return { bound, counts };
  });
}

/** Rows without the empty ones at both ends. */
function filled(rows: Row[]): Row[] {
  const used = rows.map((row) => [...row.counts.values()].some((count) => count > 1e-9));
  const first = Math.max(0, used.indexOf(true));
  return rows.slice(first, used.lastIndexOf(true) + 1);
}

interface Props {
  panel: Panel;
  answers: Answer[];
  picture: Picture;
  width: number;
  height: number;
  theme: GrafanaTheme2;
}

function draw(canvas: HTMLCanvasElement, { panel, answers, picture, width, height, theme }: Props): void {
  const scale = window.devicePixelRatio;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const ctx = canvas.getContext('2d')!;
  ctx.scale(scale, scale);
  ctx.font = `11px ${theme.typography.fontFamily}`;
  const rows = filled(rowsOf(answers.flatMap((answer) => answer.series)));
  const most = Math.max(...rows.flatMap((row) => [...row.counts.values()]));
  const [right, tall] = [width - 8, (height - BOTTOM - 6) / rows.length];
  const x = (at: number) => LEFT + ((at - picture.from) / (picture.to - picture.from)) * (right - LEFT);
  const format = getValueFormat(panel.options.yAxis.unit);
  const exponent = panel.options.color.exponent;
  rows.forEach((row, index) => {
    const top = height - BOTTOM - (index + 1) * tall;
    for (const [at, count] of row.counts) {
      if (count > panel.options.filterValues.le) {
        const shade = Math.pow(count / most, exponent);
        // In a dark theme Grafana turns the scheme round: many is bright.
        ctx.fillStyle = ORANGES[Math.round((1 - shade) * (ORANGES.length - 1))];
        ctx.fillRect(x(at - picture.step), top + 0.5, Math.max(1, x(at) - x(at - picture.step) - 0.3), tall - 1);
      }
    }
    const every = Math.ceil(14 / tall);
    if (index % every === 0) {
      ctx.fillStyle = theme.colors.text.primary;
      ctx.textAlign = 'right';
      const text = Number.isFinite(row.bound) ? formattedValueToString(format(row.bound)) : '+Inf';
      ctx.fillText(text, LEFT - 6, top + 4);
    }
  });
  ctx.textAlign = 'center';
  ctx.fillStyle = theme.colors.text.primary;
  for (let share = 0.1; share < 1; share += 0.2) {
    const at = picture.from + share * (picture.to - picture.from);
    ctx.fillText(dateTimeFormat(at, { format: 'HH:mm:ss', timeZone: 'utc' }), x(at), height - 6);
  }
}

export function Heatmap(props: Props): React.ReactElement {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => draw(canvas.current!, props));
  return <canvas ref={canvas} style={{ width: props.width, height: props.height }} />;
}
