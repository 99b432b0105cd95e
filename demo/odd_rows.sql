-- What the earlier model, or a migration, left of some rows of the main recording.
UPDATE observations SET apps = 'Chrome, Slack', topics = 'tides, harbors' WHERE image_path LIKE '%frame_000006.jpg';
UPDATE observations SET apps = NULL, topics = NULL
  WHERE image_path LIKE '%frame_000013.jpg' OR image_path LIKE '%frame_000051.jpg';
UPDATE observations SET vlm_description = NULL, activity_type = NULL, apps = NULL, topics = NULL
  WHERE image_path LIKE '%frame_000010.jpg';
UPDATE observations SET vlm_description = 'No description available', activity_type = 'other', apps = '[]', topics = '[]'
  WHERE image_path LIKE '%frame_000025.jpg';
UPDATE observations SET vlm_description = 'Parse error: no field ''activity'' in the reply', activity_type = 'other'
  WHERE image_path LIKE '%frame_000034.jpg';
UPDATE observations SET vlm_description = 'The picture shows a browser. Let me look at', activity_type = 'unknown'
  WHERE image_path LIKE '%frame_000058.jpg';
