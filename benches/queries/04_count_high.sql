SELECT count(*) FROM cpu WHERE usage_user > 85 AND ts >= timestamp '{middle}' AND ts < timestamp '{middle}' + interval '12 hours'
