-- Escribano's tables at migration 24, in the app's order of columns, with the rows that hold no screenshot.
PRAGMA journal_mode = WAL;
PRAGMA user_version = 24;
CREATE TABLE _schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL DEFAULT (datetime('now')));
CREATE TABLE recordings (id TEXT PRIMARY KEY, video_path TEXT, audio_mic_path TEXT, audio_system_path TEXT,
  duration REAL NOT NULL, captured_at TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'raw', processing_step TEXT,
  source_type TEXT NOT NULL, source_metadata TEXT, error_message TEXT,
  created_at TEXT NOT NULL DEFAULT (datetime('now')), updated_at TEXT NOT NULL DEFAULT (datetime('now')));
CREATE TABLE frames (id TEXT PRIMARY KEY, display_id TEXT NOT NULL, captured_at TEXT NOT NULL,
  timestamp REAL NOT NULL, image_path TEXT NOT NULL, phash TEXT, width INTEGER, height INTEGER,
  analyzed INTEGER DEFAULT 0, processing_lock_id TEXT, processing_started_at TEXT,
  retry_count INTEGER DEFAULT 0, failed_at TEXT, created_at TEXT DEFAULT (datetime('now')));
CREATE TABLE observations (id TEXT PRIMARY KEY, recording_id TEXT REFERENCES recordings(id) ON DELETE CASCADE,
  frame_id TEXT REFERENCES frames(id), type TEXT NOT NULL, timestamp REAL NOT NULL, end_timestamp REAL,
  image_path TEXT, ocr_text TEXT, vlm_description TEXT, vlm_raw_response TEXT, activity_type TEXT, apps TEXT,
  topics TEXT, text TEXT, audio_source TEXT, audio_type TEXT, embedding BLOB,
  created_at TEXT NOT NULL DEFAULT (datetime('now')), vlm_stats TEXT, tb_id TEXT);
CREATE TABLE processing_runs (id TEXT PRIMARY KEY, recording_id TEXT NOT NULL REFERENCES recordings(id),
  run_type TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'running', started_at TEXT NOT NULL, completed_at TEXT,
  total_duration_ms INTEGER, error_message TEXT, metadata TEXT);
CREATE TABLE processing_stats (id TEXT PRIMARY KEY, run_id TEXT NOT NULL REFERENCES processing_runs(id)
  ON DELETE CASCADE, phase TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'running', started_at TEXT NOT NULL,
  completed_at TEXT, duration_ms INTEGER, items_total INTEGER, items_processed INTEGER, metadata TEXT);
CREATE INDEX idx_recordings_captured_at ON recordings(captured_at);
CREATE INDEX idx_obs_recording_time ON observations(recording_id, timestamp);
CREATE INDEX idx_frames_captured ON frames(timestamp);

WITH RECURSIVE n(version) AS (SELECT 1 UNION ALL SELECT version + 1 FROM n WHERE version < 24)
  INSERT INTO _schema_version SELECT version, '2026-06-12 07:30:00' FROM n;
-- The newest row is the always-on recorder's sentinel, which has no frames.
INSERT INTO recordings (id, video_path, duration, captured_at, status, processing_step, source_type) VALUES
  ('cap-2026-11-13', '/Movies/Cap/cap-2026-11-13.mp4', 95, '2026-11-13T14:21:40.000Z', 'published', 'complete', 'cap'),
  ('cap-2026-11-20', '/Movies/Cap/cap-2026-11-20.mp4', 2162, '2026-11-20T09:40:33.000Z', 'published', 'complete', 'cap'),
  ('__recorder__', NULL, 0, '2026-11-21 08:00:00', 'processed', 'complete', 'raw');
INSERT INTO processing_runs (id, recording_id, run_type, status, started_at, completed_at, total_duration_ms, metadata)
  VALUES
  ('run-1', 'cap-2026-11-13', 'initial', 'completed', '2026-11-13T14:50:05.000Z', '2026-11-13T14:50:46.000Z', 40600,
   '{"vlm_model": "qwen3-vl:4b", "platform": "darwin"}'),
  ('run-2', 'cap-2026-11-20', 'initial', 'completed', '2026-11-20T09:50:00.000Z', '2026-11-20T09:55:29.000Z', 328800,
   '{"vlm_model": "mlx-community/Qwen3-VL-2B-Instruct-4bit", "platform": "darwin"}');
INSERT INTO processing_stats (id, run_id, phase, status, started_at, completed_at, duration_ms, items_total,
  items_processed) VALUES
  ('stat-1', 'run-1', 'vlm-batch-inference', 'success', '2026-11-13T14:50:05.000Z', '2026-11-13T14:50:46.000Z', 40600,
   5, 5),
  ('stat-2', 'run-2', 'vlm-batch-inference', 'success', '2026-11-20T09:50:00.000Z', '2026-11-20T09:55:29.000Z', 328800,
   120, 120);
INSERT INTO observations (id, recording_id, type, timestamp, end_timestamp, text, audio_source, audio_type) VALUES
  ('audio-1', 'cap-2026-11-20', 'audio', 700.0, 731.5, 'What is left is the datum shift at Esbjerg.', 'mic', 'speech');
