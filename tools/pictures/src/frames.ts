// Answers as Grafana's data frames, with the settings of the panel applied as Grafana applies them.

import {
  DataFrame,
  FieldType,
  getDisplayProcessor,
  getFieldDisplayName,
  GrafanaTheme2,
  toDataFrame,
} from '@grafana/data';
import { Answer, Panel, Picture, Series } from './model';

/** Thresholds have no lower end in JSON; in memory it is minus infinity. */
function withLowerEnd(thresholds: any): any {
  if (!thresholds) {
    return thresholds;
  }
  return { ...thresholds, steps: thresholds.steps.map((step: any) => ({ ...step, value: step.value ?? -Infinity })) };
}

/** Puts a value at a path such as `custom.lineWidth`. */
function put(config: Record<string, any>, path: string, value: unknown): void {
  const [first, rest] = path.split(/\.(.*)/s);
  if (rest === undefined) {
    config[first] = first === 'thresholds' ? withLowerEnd(value) : value;
  } else {
    config[first] = { ...config[first] };
    put(config[first], rest, value);
  }
}

/** The settings of a series with this name: the defaults, then the overrides that match. */
export function configFor(panel: Panel, name: string): Record<string, any> {
  const { defaults, overrides } = panel.fieldConfig;
  const config: Record<string, any> = {
    ...defaults,
    custom: { ...defaults.custom },
    thresholds: withLowerEnd(defaults.thresholds),
  };
  for (const override of overrides) {
    if (override.matcher.options === name) {
      override.properties.forEach((property) => put(config, property.id, property.value));
    }
  }
  return config;
}

/** The points of a series with a null at each step where it has none, so that no line is drawn over a gap. */
function withGaps(series: Series, picture: Picture): Array<[number, number | null]> {
  if (series.points.length < 2) {
    return series.points;
  }
  const number = (at: number) => Math.round((at - picture.from) / picture.step);
  const values = new Map(series.points.map(([at, value]) => [number(at), value]));
  return Array.from({ length: number(picture.to) + 1 }, (_, n) => [
    picture.from + n * picture.step,
    values.get(n) ?? null,
  ]);
}

function frameOf(series: Series, refId: string, panel: Panel, picture: Picture): DataFrame {
  const points = withGaps(series, picture);
  return toDataFrame({
    refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: points.map((point) => point[0]), config: {} },
      {
        name: 'Value',
        type: FieldType.number,
        labels: series.labels,
        values: points.map((point) => point[1]),
        config: { ...configFor(panel, series.name), displayNameFromDS: series.name },
      },
    ],
  });
}

/** A frame a series. */
export function framesOf(panel: Panel, answers: Answer[], picture: Picture, theme: GrafanaTheme2): DataFrame[] {
  const frames = answers.flatMap((answer) =>
    answer.series.map((series) => frameOf(series, answer.refId, panel, picture)),
  );
  frames.forEach((frame, seriesIndex) => {
    const field = frame.fields[1];
    field.state = { seriesIndex };
    field.state.displayName = getFieldDisplayName(field, frame, frames);
    field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
    frame.fields[0].display = getDisplayProcessor({ field: frame.fields[0], theme, timeZone: 'utc' });
  });
  return frames;
}

/** The settings of a column; the unit and the bounds are those of the value. */
function columnConfig(panel: Panel, name: string, heading: string): Record<string, any> {
  const config = configFor(panel, heading);
  return name === 'Value'
    ? config
    : { custom: config.custom, mappings: config.mappings, color: { mode: 'thresholds' } };
}

/** One frame with a row a series: what `filterFieldsByName` and `organize` leave of it. */
export function tableOf(panel: Panel, answers: Answer[], theme: GrafanaTheme2): DataFrame {
  const [filter, organize] = panel.transformations!.map((one) => one.options);
  const series = answers.flatMap((answer) => answer.series);
  const present = new Set<string>([...series.flatMap((one) => Object.keys(one.labels)), 'Value']);
  const shown = (filter.include.names as string[]).filter((name) => present.has(name));
  const order = panel.options.sortBy?.[0];
  const rows = [...series].sort((one, other) => (order?.desc ? other.points.at(-1)![1] - one.points.at(-1)![1] : 0));
  const frame = toDataFrame({
    fields: shown.map((name) => ({
      name: organize.renameByName[name] ?? name,
      type: name === 'Value' ? FieldType.number : FieldType.string,
      values: rows.map((row) => (name === 'Value' ? row.points.at(-1)![1] : (row.labels[name] ?? ''))),
      config: columnConfig(panel, name, organize.renameByName[name] ?? name),
    })),
  });
  frame.fields.forEach((field) => (field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' })));
  return frame;
}
